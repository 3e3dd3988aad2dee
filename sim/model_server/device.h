#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/units.h"

namespace tranche::sim {

// The memory of a model on the first device that CUDA shows, held through whatever libcuda.so.1 the
// loader finds: the simulated one, or a real driver's. Not thread-safe; to be used by the thread
// that made it.
class Device {
 public:
  struct Needs {
    std::string model;
    Bytes memory;   // all that the server may hold on the device
    Bytes weights;  // of it; the rest is cache, and a GiB for the context and working space
  };

  // kUnavailable: no driver or no device. kDoesNotFit: not enough memory is free. kInvalid:
  // `weights` leave no room in `memory`.
  static Result<std::unique_ptr<Device>> Open(const Needs& needs);
  virtual ~Device() = default;

  virtual const std::string& name() const = 0;
  // Bytes per second, by the memory clock and bus width that the driver states.
  virtual double bandwidth() const = 0;
  virtual Bytes cache() const = 0;
  // kFailed when the device or the context is not well any more.
  virtual Status Check() = 0;
  // Shares of its SMs and bandwidth that are busy from now on. A real device sees that for itself.
  virtual void SetLoad(double sm, double memory) = 0;
};

}  // namespace tranche::sim
