#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "edge/driver/vgpu/vgpu_host.h"

namespace tranche {

// A vGPU that is there, and what was written down when Tranche made it.
struct KnownVgpu {
  VgpuDevice device;
  bool ours = false;
  std::string owner;          // who asked for it, in their words
  std::optional<Time> since;  // when it was made
  std::string workload;       // the replica that it is of; "": made by hand
  int replica = 0;
};
struct KnownVgpus {
  VgpuGpu gpu;
  std::vector<KnownVgpu> vgpus;  // by id
};

// The vGPUs of a host. The kernel gives those at virtual functions no identity: the next one at the
// same place looks the same. So what Tranche makes is written down, and only that is destroyed.
class VgpuBook {
 public:
  // `folder`: where it is written down. All outlive this.
  VgpuBook(std::string folder, VgpuHost& host, Clock& clock)
      : folder_(std::move(folder)), host_(host), clock_(clock) {}

  // A GPU by its PCI address, or by its number among those of the machine. kNotFound names them.
  Result<std::string> FindGpu(const std::string& gpu) const;
  Result<KnownVgpus> Read(const std::string& gpu) const;
  // kNotFound when no GPU has such a one; why a GPU could not be read, when it may be on that.
  Result<std::pair<KnownVgpu, VgpuInterface>> Find(const std::string& id) const;

  // The type by its name, or the smallest of a series with so much memory.
  struct Wish {
    std::string type;
    std::optional<Bytes> memory;
    VgpuSeries series = VgpuSeries::kC;
  };
  Result<KnownVgpu> Create(const std::string& gpu, const Wish& wish, const std::string& owner);
  // ---- Of replicas ----

  // The one of that replica, if it is there, also when a crash came while it was made.
  std::optional<KnownVgpu> FindFor(const std::string& workload, int replica) const;
  // Makes it, unless it is there. It is written down before it is made, so that nothing is left
  // that nobody knows to be ours.
  Result<KnownVgpu> CreateFor(const std::string& gpu, const std::string& type,
                              const std::string& workload, int replica);
  // OK when it is not there. kBusy while a machine has it open. Those that hold places go as well.
  Status DestroyFor(const std::string& workload, int replica);
  // The driver put the replica's somewhere else than it is to be: it stays there, so that the next
  // one that is made for the replica goes elsewhere, until ReleasePlaces.
  Status HoldPlace(const std::string& workload, int replica);
  Status ReleasePlaces(const std::string& workload, int replica);
  bool HoldsPlaces(const std::string& workload, int replica) const;

  // kPermission for one that Tranche did not make, unless `adopt`.
  Status Destroy(const std::string& id, bool adopt);

 private:
  // What is written down of one.
  struct Record {
    VgpuSpot spot;
    std::string owner;
    std::string workload;
    int replica = 0;
    bool made = false;   // it was seen there; otherwise it was about to be made
    bool holds = false;  // only a place, for another to go elsewhere
    std::string boot;    // VgpuHost::BootId then
    std::optional<Time> since;
  };
  std::string RecordOf(const std::string& id) const;
  std::optional<Record> ReadRecord(const std::string& id) const;
  Status WriteRecord(const Record& record) const;
  void DropRecord(const std::string& id) const;
  std::vector<Record> RecordsFor(const std::string& workload, int replica, bool holds) const;
  Status DestroyAll(const std::vector<Record>& records);
  // What is there of it now. Nothing lasts over a start of the machine: whatever is at its place
  // since the last one is somebody else's.
  std::optional<VgpuDevice> There(const Record& record) const;
  bool IsOfThisBoot(const Record& record) const;
  Result<KnownVgpu> Make(const VgpuSpot& spot, const std::string& owner,
                         const std::string& workload, int replica);
  // What was written down, if it is still the one that is there.
  void Recognise(KnownVgpu* vgpu) const;

  const std::string folder_;
  VgpuHost& host_;
  Clock& clock_;
};

}  // namespace tranche
