#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edge/driver/vgpu/sysfs.h"
#include "edge/driver/vgpu/vgpu_type.h"

// Virtual GPUs of a host, through the kernel's files: the vendor's own interface over VFIO (kernel
// 6.8 and newer), and mediated devices before that.

namespace tranche {

enum class VgpuInterface { kVendorVfio, kMdev };

// A place where one vGPU can be: a virtual function of the GPU, or with mediated devices on a GPU
// without them the GPU itself.
struct VgpuFunction {
  std::string address;               // "0000:41:00.4"
  std::vector<VgpuType> creatable;   // here and now; shrinks as other vGPUs take capacity
  std::vector<int> creatable_count;  // of each, how many more; 1 on a virtual function
};

struct VgpuDevice {
  std::string id;        // the function's address, or the mediated device's UUID
  std::string function;  // where it is
  VgpuType type;
  // Where the driver put it; absent before a VM runs it, and without MIG.
  std::optional<int> gpu_instance, placement;
  std::string device;  // what a VM opens: "/dev/vfio/devices/vfio3"; "" when there is none yet
  std::vector<int> holders;  // who has that open: it is in use
};

struct VgpuGpu {
  std::string address;  // of the GPU
  VgpuInterface interface = VgpuInterface::kVendorVfio;
  std::vector<VgpuFunction> functions;  // by address; empty: none are enabled
  std::vector<VgpuDevice> devices;      // by id
};

// What to write into a VM's definition in libvirt. Tranche owns the device, its user the VM.
std::string LibvirtDevice(const VgpuDevice& device, VgpuInterface interface);

// Any thread, one change at a time.
class VgpuHost {
 public:
  // Runs a program with its arguments; kFailed with what it said unless it exits with 0.
  using Run = std::function<Status(const std::vector<std::string>& argv)>;

  // `run`: for NVIDIA's sriov-manage, which makes the virtual functions.
  VgpuHost(std::unique_ptr<Sysfs> files, Run run)
      : files_(std::move(files)), run_(std::move(run)) {}

  // The addresses of NVIDIA's GPUs, without virtual functions, in order.
  std::vector<std::string> Gpus() const;

  // `address`: of the GPU, as NVML or the kernel writes it. kUnsupported when its driver is no vGPU
  // host driver, with what is missing.
  Result<VgpuGpu> Read(const std::string& address) const;

  // Makes the GPU's virtual functions. That binds the driver anew, which destroys every MIG
  // instance on it: whoever wants vGPUs backed by MIG turns MIG mode on before and makes the
  // instances after. OK when they are there.
  Status EnableFunctions(const std::string& address);

  // One vGPU of that type (by its name, with or without "NVIDIA "), read back. kDoesNotFit names
  // what would fit; nothing is left when it fails.
  Result<VgpuDevice> Create(const std::string& address, const std::string& type);

  // kBusy while anybody has it open; kNotFound when `expected` is not what is there any more:
  // functions are used again and again, and another's vGPU may be at the same address now.
  Status Remove(const VgpuDevice& expected, VgpuInterface interface);

 private:
  Result<VgpuGpu> ReadVendor(const std::string& gpu,
                             const std::vector<std::string>& functions) const;
  Result<VgpuGpu> ReadMdev(const std::string& gpu, const std::vector<std::string>& functions) const;
  std::vector<std::string> FunctionsOf(const std::string& gpu) const;
  std::optional<int> Number(const std::string& path) const;
  void FindDevice(VgpuDevice* device, const std::string& folder) const;
  Result<VgpuDevice> CreateVendor(const VgpuFunction& function, const VgpuType& type);
  Result<VgpuDevice> CreateMdev(const VgpuFunction& function, const VgpuType& type);

  std::unique_ptr<Sysfs> files_;
  Run run_;
};

// "00000000:41:00.0" as the kernel writes it: "0000:41:00.0". "" when it is no such address.
std::string KernelPciAddress(const std::string& address);

}  // namespace tranche
