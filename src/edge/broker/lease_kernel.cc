#include <filesystem>

#include "edge/broker/lease_book.h"

// What of a lease the kernel holds: its memory, over the cgroup that its processes are in. All but
// ForeseeGuarantee with mutex_ held.

namespace tranche {
namespace {

std::string TheLimiterAlone(const Error& why) {
  return "the limiter alone holds its memory, inside its processes: " + why.message;
}

}  // namespace

void LeaseBook::ForeseeGuarantee(const Gpu& gpu, Lease* lease) const {
  if (kernel_ == nullptr || !lease->memory) return;
  if (Status can = kernel_->CanHold(gpu); !can)
    lease->why_not_harder = TheLimiterAlone(can.error());
  else
    lease->cgroup = "one of its own";
}

void LeaseBook::HoldByKernel(Entry& entry, const Gpu& gpu) {
  Lease& lease = entry.lease;
  if (kernel_ == nullptr || !lease.memory) return;
  if (!lease.device_uuid.empty()) {
    lease.why_not_harder = TheLimiterAlone(
        {ErrorCode::kUnsupported, "the kernel's limits are of whole GPUs, not of MIG instances"});
    return;
  }
  // A machine without such limits lacks nothing that was promised.
  if (Status can = kernel_->CanHold(gpu); !can) {
    lease.why_not_harder = TheLimiterAlone(can.error());
    return;
  }
  // As its table is called, so that no two starts of a replica ever share one.
  const std::string name = std::filesystem::path(lease.slice_file).filename();
  auto group = kernel_->Make(name, gpu, *lease.memory);
  Status entered = group ? Status() : tl::unexpected<Error>(group.error());
  // A replica enters by itself, before it is executed.
  if (group && lease.workload.empty()) {
    entered = kernel_->Enter(*group, entry.runner.pid);
    if (!entered) RemoveGroup(*group);
  }
  if (entered) {
    entry.group = *group;
    lease.cgroup = group->folder;
  } else {
    lease.why_not_harder = lease.detail = TheLimiterAlone(entered.error());
  }
}

void LeaseBook::FindKernelLimit(Entry& entry) {
  Lease& lease = entry.lease;
  // What was lent is lent again by whoever knows what is free.
  if (lease.memory) entry.store->SetMemoryLimit(0, *lease.memory);
  if (entry.group.folder.empty() || !lease.memory) return;
  if (kernel_ == nullptr) {
    LoseKernelLimit(entry, {ErrorCode::kUnsupported, "this daemon sets no limits of the kernel"});
    return;
  }
  const auto most = kernel_->Most(entry.group);
  if (most && *most == *lease.memory) return;
  if (Status set = kernel_->SetMost(entry.group, *lease.memory); !set)
    LoseKernelLimit(entry, set.error());
}

void LeaseBook::LoseKernelLimit(Entry& entry, const Error& why) {
  Lease& lease = entry.lease;
  lease.why_not_harder = lease.detail = TheLimiterAlone(why);
  lease.cgroup.clear();
  if (kernel_ != nullptr) RemoveGroup(entry.group);
  entry.group = {};
}

void LeaseBook::SetMost(Entry& entry, Bytes most) {
  entry.store->SetMemoryLimit(0, most);
  if (entry.group.folder.empty()) return;
  if (Status set = kernel_->SetMost(entry.group, most); !set) LoseKernelLimit(entry, set.error());
}

void LeaseBook::RemoveGroup(KernelGroup group) {
  if (kernel_ == nullptr || group.folder.empty()) return;
  if (!kernel_->Remove(group)) leaving_.push_back(std::move(group));
}

void LeaseBook::RemoveEmptyGroups() {
  std::vector<KernelGroup> groups;
  groups.swap(leaving_);
  for (KernelGroup& group : groups) RemoveGroup(std::move(group));
}

}  // namespace tranche
