#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "edge/driver/vgpu/vgpu_host.h"

namespace tranche {

// The kernel's files of one GPU under a vGPU host driver, as far as they behave: what can be made
// shrinks with what was, a type that no longer fits is refused with EIO, sizes are not mixed unless
// the GPU is told to, types backed by MIG want an instance of their size. For tests.
class FakeVgpuSysfs final : public Sysfs {
 public:
  struct Type {
    uint32_t id;
    std::string name;
    int gib;
    int slices = 0;  // of MIG
    int most = 1;    // of it alone on the GPU
  };

  FakeVgpuSysfs(VgpuInterface interface, int gib, int functions, std::vector<Type> types)
      : interface_(interface), gib_(gib), most_functions_(functions), types_(std::move(types)) {}

  static constexpr const char* kGpu = "0000:41:00.0";

  // ---- What is done to it ----

  // sriov-manage -e: the driver is bound anew.
  void EnableFunctions() {
    enabled_ = true;
    instances.clear();
    mixed = false;
  }
  std::vector<int> instances;                       // MIG instances, by slices
  bool mixed = false;                               // different sizes on one GPU
  bool host_driver = true;                          // sriov-manage is installed
  std::map<std::string, std::vector<int>> holders;  // of a device
  std::set<std::string> read_fails;                 // files that cannot be read
  std::set<std::string> write_fails;                // with EBUSY
  bool forgets = false;                             // takes an order and does nothing

  // What is there: place to type.
  const std::map<std::string, uint32_t>& made() const { return made_; }
  std::string FunctionAt(int i) const;

  bool Exists(const std::string& path) const override;
  std::vector<std::string> List(const std::string& folder) const override;
  Result<std::string> Read(const std::string& path) const override;
  Status Write(const std::string& path, const std::string& text) override;
  std::string LinkName(const std::string& path) const override;
  std::vector<int> Holders(const std::string& device) const override;

 private:
  const Type* Find(uint32_t id) const;
  bool Fits(const Type& type) const;
  Status Make(const std::string& place, uint32_t id);
  // "0000:41:00.4/nvidia/..." of a path below the PCI devices: function and the rest.
  bool Split(const std::string& path, std::string* function, std::string* rest) const;
  bool IsFunction(const std::string& address) const;

  const VgpuInterface interface_;
  const int gib_, most_functions_;
  const std::vector<Type> types_;
  bool enabled_ = false;
  std::map<std::string, uint32_t> made_;      // function, or UUID
  std::map<std::string, std::string> where_;  // UUID to function
  mutable int uuids_ = 0;
};

}  // namespace tranche
