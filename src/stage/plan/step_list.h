#pragma once

#include <string>
#include <vector>

#include "model/plan.h"

namespace tranche::planning {

// Builds steps with their names for people, and numbers them.
class StepList {
 public:
  // `gpus` must outlive this.
  explicit StepList(std::vector<const Gpu*> gpus) : gpus_(std::move(gpus)) {}

  void SwitchMig(const std::string& gpu_uuid, bool on, std::string why);
  void Instance(StepKind kind, const Slice& slice, std::string why);
  // A stop names the processes that it interrupts, as far as they are known. Of a virtual GPU the
  // device is made and taken away: the machine is its user's to start.
  void Replica(StepKind kind, Change change, const std::string& workload, int replica,
               const Slice& slice, std::string why, const std::vector<int>& pids = {});
  // kDestroy: Tranche no longer minds it, so it is as it was before.
  void TimeSlices(Change change, const std::string& gpu_uuid, TimeSlice before, TimeSlice now,
                  std::string why);
  // likewise
  void ComputeModes(Change change, const std::string& gpu_uuid, ComputeMode before, ComputeMode now,
                    std::string why);
  // kDestroy: likewise.
  void VgpuHosts(Change change, const std::string& gpu_uuid, const VgpuHostState& before,
                 const VgpuHostState& now, std::string why);
  void Routes(StepKind kind, Change change, std::string target, std::string why);

  std::vector<Step> Take() { return std::move(steps_); }

 private:
  const Gpu* Find(const std::string& uuid) const;
  std::string GpuName(const std::string& uuid) const;
  void Add(Step step);

  std::vector<const Gpu*> gpus_;
  std::vector<Step> steps_;
};

// "gpu0 2g.20gb@4", "gpu1", "gpu0 time-slicing", "gpu0 3g.40gb@4 mps", "gpu0 A40-8C".
std::string SliceName(const Slice& slice, const std::string& gpu_name);

}  // namespace tranche::planning
