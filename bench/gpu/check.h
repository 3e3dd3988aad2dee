#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "processes.h"
#include "report.h"
#include "slices.h"

namespace tranche::gpu_check {

constexpr int64_t kSecond = 1000000000;

// What all steps need. A step adds what it found to `step` and says why it could not do more.
struct Check {
  std::string programs;  // folder of gpu_work and its like
  std::string limiter;   // folder of the shim libcuda.so.1
  std::string real;      // the driver's own library
  std::string work;      // a folder for what lies about meanwhile
  std::string rival;     // somebody else's library for LD_PRELOAD; ""
  std::string scripts;   // folder of the Python programs
  std::string cublas;    // its library; ""
  bool fast = false;     // for a test of the check itself: everything short
  int64_t deadline = 0;  // of CLOCK_MONOTONIC: what is not begun by then is skipped

  std::string uuid;  // 32 hexadecimal digits
  std::string name;
  bool simulated = false;
  double multiprocessors = 0;
  uint64_t memory_bytes = 0, context_bytes = 0;
  // From the start of programs to the beginning of what is measured: enough for all to have a
  // context, their kernels compiled, and some of them measured by the limiter.
  int64_t lead() const { return fast ? kSecond / 2 : 2 * kSecond; }
  double clock_offset = 0;  // the GPU's clock minus the host's, ns

  // One of a tenant's ways to the GPU, with what it may have there.
  std::vector<std::string> Environment(const std::string& mode, const Slices* slices, size_t tenant,
                                       const Shares& shares) const;
  std::vector<std::string> GpuWork(const std::string& command,
                                   const std::vector<std::string>& options) const;
  // So long from now, or until all must be over: no step outlives the check.
  int64_t Until(double seconds) const;
  Outcome Run(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
              double seconds) const;
  // Bytes of the GPU's memory, as a process sees them that nobody limits; -1: it cannot.
  double UsedByAll() const;
  std::unique_ptr<Slices> MakeSlices(const std::vector<Shares>& tenants) const;
  // "none", "limiter", and "rival" if there is one.
  std::vector<std::string> Modes() const;
};

// Everything else is told by the GPU that this finds.
void DescribeGpu(Check& check, Step& step);

void CheckNvml(Check& check, Step& step);
void CheckFacts(Check& check, Step& step);
void CheckTimeSlices(Check& check, Step& step);
void CheckOverhead(Check& check, Step& step);
void CheckMemory(Check& check, Step& step);
void CheckKillStorm(Check& check, Step& step);
void CheckTorch(Check& check, Step& step);

// A tenant's work in the steps about shares of time.
struct Shape {
  std::string name;
  std::string options;  // of gpu_work share, a word each
  double nominal_ns;    // of one launch
  bool sync;            // it waits for each
};
// By shape, what one does alone without a limiter, measured once and kept. Of one that waits for
// each launch: what it would do if it did not, since a share is a part of the GPU.
struct Alone {
  double iterations = 0;        // of each launch, 0 where they are not counted
  double iterations_per_s = 0;  // of a whole window
  double share_by_units = 0;
  std::string reason;  // why it could not be measured; ""
};
class Compute {
 public:
  explicit Compute(Check& check);
  void SharedBy3070(Step& step);  // every shape, 30/70
  void SharedBy1090(Step& step);
  void ThreeWithPauses(Step& step);  // 3 x 33
  void Capped(Step& step);
  void Latency(Step& step);  // a probe, and a returning owner, beside a busy neighbour
  void UnderMps(Step& step);

 private:
  struct Tenant {
    Shape shape;
    Shares shares;
    std::vector<std::string> more;         // options of its own
    std::vector<std::string> environment;  // beside the mode's
  };
  struct Result {
    std::vector<double> shares;  // of the GPU, as parts of what each would do alone; by tenant
    double waits_per_s = 0, waited_us = 0, handover_us = 0;
    std::string reason;  // why there is none; ""
  };
  const Alone& AloneOf(const Shape& shape);
  Result Together(const std::string& mode, const std::vector<Tenant>& tenants, double seconds);
  void Pair(Step& step, const std::string& mode, const Shape& shape, uint32_t first);

  Check& check_;
  double window_;
  std::vector<Shape> shapes_;
  std::vector<std::pair<std::string, Alone>> alone_;
};

}  // namespace tranche::gpu_check
