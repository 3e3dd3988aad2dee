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
  // The types that the driver names, whether there is room for them or not: of mediated devices
  // all, of virtual functions those that could be made on one of them. Each once.
  std::vector<VgpuType> types;
  std::vector<VgpuDevice> devices;  // by id
};

// In words, of a GPU with functions on none of which any type can be made now.
std::string WhyNothingCanBeMade(const VgpuGpu& gpu);

// What to write into a VM's definition in libvirt. Tranche owns the device, its user the VM.
std::string LibvirtDevice(const VgpuDevice& device, VgpuInterface interface);

// Where a vGPU is to be, before it is there: what must be written down of it first, so that after a
// crash it can be told whose it is.
struct VgpuSpot {
  std::string id;  // as VgpuDevice::id
  std::string function;
  VgpuType type;
  VgpuInterface interface = VgpuInterface::kVendorVfio;
};

// Any thread, one change at a time.
class VgpuHost {
 public:
  // Runs a program with its arguments and returns what it printed; kFailed with what it said unless
  // it exits with 0, kNotFound when there is none.
  using Run = std::function<Result<std::string>(const std::vector<std::string>& argv)>;

  // `run`: for NVIDIA's sriov-manage, which makes the virtual functions, and nvidia-smi, for what
  // is in no file.
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

  // Takes them away again; OK when there are none. kBusy while there are vGPUs on them.
  Status DisableFunctions(const std::string& address);

  // The types that the driver supports on the GPU, whether there is room for them or not, and also
  // before it has virtual functions; their numbers are not told. Empty where nvidia-smi does not
  // say.
  std::vector<VgpuType> Supported(const std::string& address) const;

  // Whether vGPUs of several sizes may be on the GPU. kUnsupported where the driver does not say.
  Result<bool> Mixed(const std::string& address) const;
  // kBusy while there are any on it.
  Status SetMixed(const std::string& address, bool mixed);
  // As the driver tells, or as it was loaded. kUnsupported, with why, when neither says.
  Result<VgpuScheduler> Scheduler(const std::string& address) const;
  // Until the driver is loaded anew; the error says how it is set for good.
  Status SetScheduler(const std::string& address, VgpuScheduler scheduler);

  // Where one of that type (by its name, with or without "NVIDIA ") could be made now. kDoesNotFit
  // names what would fit.
  Result<VgpuSpot> FindSpot(const std::string& address, const std::string& type) const;
  // Which start of the machine this is, over which no vGPU lasts; "" when the kernel does not say.
  std::string BootId() const;
  // Makes it and reads it back; nothing is left when that fails.
  Result<VgpuDevice> CreateAt(const VgpuSpot& spot);
  // What is there now, if it is of that type.
  std::optional<VgpuDevice> At(const VgpuSpot& spot) const;

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
  VgpuDevice DeviceAt(const VgpuSpot& spot) const;

  std::unique_ptr<Sysfs> files_;
  Run run_;
};

// "00000000:41:00.0" as the kernel writes it: "0000:41:00.0". "" when it is no such address.
std::string KernelPciAddress(const std::string& address);

}  // namespace tranche
