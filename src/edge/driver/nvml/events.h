#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "edge/driver/driver.h"
#include "edge/driver/nvml/library.h"

namespace tranche {

// One event set on all GPUs of one opened library. Used by one thread at a time.
class EventSource {
 public:
  explicit EventSource(const NvmlLibrary& nvml) : nvml_(nvml) {}
  ~EventSource();
  EventSource(const EventSource&) = delete;
  EventSource& operator=(const EventSource&) = delete;

  // What happened until now, or the first thing that happens within `milliseconds`; empty when
  // nothing did. A GPU that is lost while this object lives is reported once, and the others are
  // listened to further on. kUnsupported when no GPU reports events, kUnavailable when the driver
  // went away.
  Result<std::vector<DriverEvent>> Wait(unsigned int milliseconds);

 private:
  nvmlReturn_t Listen();
  void Forget();
  // The GPUs that were there and are lost now; each once.
  std::vector<DriverEvent> NewlyLost();
  nvmlReturn_t WaitOnce(unsigned int milliseconds, nvmlEventData_t* data);
  bool Translate(const nvmlEventData_t& data, DriverEvent* event);

  const NvmlLibrary& nvml_;
  bool listening_ = false;
  nvmlEventSet_t set_ = {};
  std::map<std::string, nvmlDevice_t> gpus_;  // by UUID, as long as they were not lost
};

}  // namespace tranche
