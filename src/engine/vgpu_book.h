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
  // kNotFound when no GPU has such a one.
  Result<std::pair<KnownVgpu, VgpuInterface>> Find(const std::string& id) const;

  // The type by its name, or the smallest of a series with so much memory.
  struct Wish {
    std::string type;
    std::optional<Bytes> memory;
    VgpuSeries series = VgpuSeries::kC;
  };
  Result<KnownVgpu> Create(const std::string& gpu, const Wish& wish, const std::string& owner);
  // kPermission for one that Tranche did not make, unless `adopt`.
  Status Destroy(const std::string& id, bool adopt);

 private:
  std::string RecordOf(const std::string& id) const;
  // What was written down, if it is still the one that is there.
  void Recognise(KnownVgpu* vgpu) const;

  const std::string folder_;
  VgpuHost& host_;
  Clock& clock_;
};

}  // namespace tranche
