#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "edge/driver/vgpu/vgpu_host.h"

namespace tranche {

// The kernel's files of one GPU under a vGPU host driver, and the two programs that come with it,
// as far as they behave: what can be made shrinks with what was, a type that no longer fits is
// refused with EIO, sizes are not mixed unless the GPU is told to, which it takes only while it is
// empty, and then each has its place, aligned to its size; types backed by MIG want an instance of
// their size, or one with room that has no other size, and which one they get is the driver's to
// choose. For tests.
class FakeVgpuSysfs final : public Sysfs {
 public:
  struct Type {
    uint32_t id;
    std::string name;
    int gib;
    int slices = 0;             // of MIG
    int most = 1;               // of it alone on the GPU
    int most_mixed = 0;         // of it among other sizes; 0: it is not mixed
    int most_per_instance = 1;  // of MIG, all of one size
    int instance_profile = -1;  // of that; -1: any of its slices
  };
  struct Instance {
    int id, slices;
    int profile = -1;
  };

  FakeVgpuSysfs(VgpuInterface interface, int gib, int functions, std::vector<Type> types,
                std::string gpu = kGpu)
      : gpu_(std::move(gpu)),
        interface_(interface),
        gib_(gib),
        most_functions_(functions),
        types_(std::move(types)) {}

  static constexpr const char* kGpu = "0000:41:00.0";

  // ---- What is done to it ----

  // sriov-manage and nvidia-smi.
  Result<std::string> Run(const std::vector<std::string>& argv);
  // sriov-manage -e: the driver is bound anew.
  void EnableFunctions();
  // What a driver that is loaded anew knows of before: nothing.
  void Reboot();
  std::vector<Instance> instances;                      // of MIG
  std::function<std::vector<Instance>()> instances_of;  // instead, when it is there
  std::function<void()> lose_instances;                 // likewise, for EnableFunctions
  bool mixed = false;                                   // different sizes on one GPU
  std::string scheduler = "Best Effort";
  int boots = 1;
  std::string params;                               // what the driver was loaded with
  bool host_driver = true;                          // sriov-manage is installed
  bool smi = true;                                  // so is nvidia-smi, and it knows of vGPUs
  std::map<std::string, std::vector<int>> holders;  // of a device
  std::set<std::string> read_fails;                 // files that cannot be read
  // What files hold instead; absent: they are not there, nor is what is below them.
  std::map<std::string, std::optional<std::string>> instead;
  std::set<std::string> write_fails;  // with EBUSY
  bool forgets = false;               // takes an order and does nothing
  // Around everything that changes something.
  std::function<void(const std::string&)> boundary = [](const std::string&) {};

  // What is there: place to type.
  const std::map<std::string, uint32_t>& made() const { return made_; }
  std::string FunctionAt(int i) const;
  bool enabled() const { return enabled_; }
  // What the hardware keeps while programs come and go.
  std::string Save() const;
  void Load(const std::string& saved);

  bool Exists(const std::string& path) const override;
  std::vector<std::string> List(const std::string& folder) const override;
  Result<std::string> Read(const std::string& path) const override;
  Status Write(const std::string& path, const std::string& text) override;
  std::string LinkName(const std::string& path) const override;
  std::vector<int> Holders(const std::string& device) const override;

 private:
  const Type* Find(uint32_t id) const;
  std::vector<Instance> Instances() const { return instances_of ? instances_of() : instances; }
  bool HasRoom(const Instance& instance, const Type& type) const;
  // Where it would be: an instance, or a place in eighths of the GPU's 128; -1: nowhere.
  int PlaceFor(const Type& type) const;
  Status Make(const std::string& place, uint32_t id);
  Status WriteAll(const std::string& path, const std::string& text);
  // "0000:41:00.4/nvidia/..." of a path below the PCI devices: function and the rest.
  bool Split(const std::string& path, std::string* function, std::string* rest) const;
  bool IsFunction(const std::string& address) const;

  const std::string gpu_;
  const VgpuInterface interface_;
  const int gib_, most_functions_;
  const std::vector<Type> types_;
  bool enabled_ = false;
  std::map<std::string, uint32_t> made_;      // function, or UUID
  std::map<std::string, int> at_;             // likewise, to what PlaceFor said
  std::map<std::string, std::string> where_;  // UUID to function
  mutable int uuids_ = 0;
};

}  // namespace tranche
