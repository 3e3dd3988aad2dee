#include "abi/cuda.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "sim/machine/lifecycle.h"
#include "sim/machine/mig.h"
#include "sim/machine/usage.h"
#include "sim/test/scratch.h"

// The library as programs use it. cuInit holds for a process, so every scenario runs in one of its
// own.
namespace tranche::sim {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

class CudaTest : public testing::Test {
 protected:
  void Make(const std::string& model, uint32_t count = 1) {
    dir_ = scratch_.path() + "/machine";
    ASSERT_TRUE(Machine::Create(dir_, SpecOf(model, count)));
    auto machine = Machine::Open(dir_);
    ASSERT_TRUE(machine) << machine.error().message;
    machine_ = std::move(*machine);
  }
  // An instance with a compute instance over all of it; returns the UUID of its MIG device.
  std::string MakeInstance(uint32_t profile) {
    std::string uuid;
    EXPECT_EQ(machine_->Update([&](MachineState& state) {
      const GpuSpec& spec = machine_->spec().gpus[0];
      Rc activation;
      Rc rc = SetMigMode(machine_->spec(), &state, 0, 1, &activation);
      uint64_t gi = 0, ci = 0;
      if (rc == Rc::kOk) rc = CreateGpuInstance(spec, &state, 0, profile, -1, &gi);
      if (rc != Rc::kOk) return rc;
      const GiProfileSpec* p = FindGiProfile(spec, profile);
      // The compute profile that takes all slices.
      for (uint32_t i = 0; i < p->ci_profile_count; ++i) {
        if (p->ci_profiles[i].slices != p->slices) continue;
        rc = CreateComputeInstance(spec, &state, 0, gi, p->ci_profiles[i].id, -1, &ci);
        if (rc != Rc::kOk) return rc;
        uuid = FindCi(state.gpus[0], ci)->uuid;
        return Rc::kOk;
      }
      return Rc::kInvalid;
    }),
              Rc::kOk);
    return uuid;
  }
  MemoryInfo MemoryOfGpu() {
    MemoryInfo memory;
    EXPECT_EQ(machine_->GetMemory({0, 0}, &memory), Rc::kOk);
    return memory;
  }

  // Starts `body` in a process that sees these devices. It is to use EXPECT only.
  pid_t Begin(const char* visible, const std::function<void()>& body) {
    const pid_t child = fork();
    if (child != 0) return child;
    setenv("TRANCHE_SIM_DIR", dir_.c_str(), 1);
    if (visible != nullptr) {
      setenv("CUDA_VISIBLE_DEVICES", visible, 1);
    } else {
      unsetenv("CUDA_VISIBLE_DEVICES");
    }
    body();
    _exit(HasFailure() ? 1 : 0);
  }
  void End(pid_t child) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "see above";
  }
  void InProcess(const char* visible, const std::function<void()>& body) {
    End(Begin(visible, body));
  }
  // The same with a context on the first device.
  void InContext(const char* visible, const std::function<void()>& body) {
    InProcess(visible, [&] {
      EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
      CUcontext context = nullptr;
      EXPECT_EQ(cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
      body();
    });
  }

  ScratchDir scratch_;
  std::string dir_;
  std::unique_ptr<Machine> machine_;
};

int Attribute(CUdevice_attribute attribute) {
  int value = -1;
  EXPECT_EQ(cuDeviceGetAttribute(&value, attribute, 0), CUDA_SUCCESS);
  return value;
}

double Bandwidth() {
  return 2e3 * Attribute(CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE) *
         Attribute(CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH) / 8;
}

std::string HexOf(const CUuuid& uuid) {
  std::string hex;
  for (const char byte : uuid.bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned char>(byte));
    hex += two;
  }
  return hex;
}

std::string HexOf(std::string text) {
  std::erase(text, '-');
  return text.substr(3);
}

TEST_F(CudaTest, AGpuIsWhatTheMachineSays) {
  Make("H100-SXM5-80GB", 2);
  InProcess(nullptr, [&] {
    const GpuSpec& spec = machine_->spec().gpus[0];
    int count = 0, version = 0, major = 0, minor = 0;
    EXPECT_EQ(cuDriverGetVersion(&version), CUDA_SUCCESS);
    EXPECT_EQ(version, machine_->spec().driver.cuda_version);
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS) << "again";
    EXPECT_EQ(cuDeviceGetCount(&count), CUDA_SUCCESS);
    EXPECT_EQ(count, 2);
    CUdevice device = -1;
    EXPECT_EQ(cuDeviceGet(&device, 2), CUDA_ERROR_INVALID_DEVICE);
    EXPECT_EQ(cuDeviceGet(&device, 0), CUDA_SUCCESS);
    char name[100];
    EXPECT_EQ(cuDeviceGetName(name, sizeof name, device), CUDA_SUCCESS);
    EXPECT_STREQ(name, spec.name);
    CUuuid uuid;
    EXPECT_EQ(cuDeviceGetUuid_v2(&uuid, device), CUDA_SUCCESS);
    EXPECT_EQ(HexOf(uuid), HexOf(spec.uuid));
    size_t total = 0;
    EXPECT_EQ(cuDeviceTotalMem_v2(&total, device), CUDA_SUCCESS);
    EXPECT_EQ(total, spec.memory_bytes - spec.reserved_bytes);
    EXPECT_EQ(cuDeviceComputeCapability(&major, &minor, device), CUDA_SUCCESS);
    EXPECT_EQ(major * 10 + minor, 90);
    EXPECT_EQ(Attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 132);
    EXPECT_EQ(Attribute(CU_DEVICE_ATTRIBUTE_WARP_SIZE), 32);
    EXPECT_NEAR(Bandwidth() / static_cast<double>(spec.bandwidth), 1, 0.001);
    EXPECT_EQ(cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_MAX, device),
              CUDA_ERROR_INVALID_VALUE);
    char bus_id[32];
    EXPECT_EQ(cuDeviceGetPCIBusId(bus_id, sizeof bus_id, 1), CUDA_SUCCESS);
    EXPECT_EQ(cuDeviceGetByPCIBusId(&device, bus_id), CUDA_SUCCESS);
    EXPECT_EQ(device, 1);
  });
}

TEST_F(CudaTest, AMigDeviceHasItsShare) {
  Make("H100-SXM5-80GB");
  const std::string first = MakeInstance(14), second = MakeInstance(9);
  InProcess(second.c_str(), [&] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    int count = 0;
    EXPECT_EQ(cuDeviceGetCount(&count), CUDA_SUCCESS);
    EXPECT_EQ(count, 1);
    char name[100];
    EXPECT_EQ(cuDeviceGetName(name, sizeof name, 0), CUDA_SUCCESS);
    EXPECT_STREQ(name, (std::string(machine_->spec().gpus[0].name) + " MIG 3g.40gb").c_str());
    CUuuid gpu, mig;
    EXPECT_EQ(cuDeviceGetUuid(&gpu, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuDeviceGetUuid_v2(&mig, 0), CUDA_SUCCESS);
    EXPECT_EQ(HexOf(gpu), HexOf(machine_->spec().gpus[0].uuid));
    EXPECT_EQ(HexOf(mig), HexOf(second));
    size_t total = 0;
    EXPECT_EQ(cuDeviceTotalMem_v2(&total, 0), CUDA_SUCCESS);
    EXPECT_GT(total, 39 * kGiB);
    EXPECT_LT(total, 40 * kGiB);
    EXPECT_EQ(Attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 60);
    EXPECT_NEAR(Bandwidth() / static_cast<double>(machine_->spec().gpus[0].bandwidth), 0.5, 0.001);
  });
  EXPECT_NE(first, second);
}

TEST_F(CudaTest, WithoutADeviceThereIsNoCuda) {
  Make("H100-SXM5-80GB");
  InProcess("", [] {
    EXPECT_EQ(cuInit(0), CUDA_ERROR_NO_DEVICE);
    int count = 0;
    EXPECT_EQ(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
  });
  InProcess("0", [] {
    EXPECT_EQ(cuInit(1), CUDA_ERROR_INVALID_VALUE);
    setenv("TRANCHE_SIM_DIR", "/nonexistent", 1);
    EXPECT_EQ(cuInit(0), CUDA_ERROR_NO_DEVICE);
  });
}

TEST_F(CudaTest, AChildOfAProcessWithCudaHasNone) {
  Make("T4");
  InProcess("0", [&] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    InProcess("0", [] {
      int count = 0;
      EXPECT_EQ(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
      EXPECT_EQ(cuInit(0), CUDA_ERROR_NOT_INITIALIZED);
    });
  });
}

TEST_F(CudaTest, AContextAndItsMemoryCountAndGoWithTheProcess) {
  Make("H100-SXM5-80GB");
  InContext("0", [&] {
    const uint64_t overhead = MemoryOfGpu().used;
    EXPECT_GT(overhead, kGiB / 4);
    EXPECT_LT(overhead, kGiB);
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 10 * kGiB), CUDA_SUCCESS);
    EXPECT_EQ(MemoryOfGpu().used, overhead + 10 * kGiB);
    size_t free = 0, total = 0;
    EXPECT_EQ(cuMemGetInfo_v2(&free, &total), CUDA_SUCCESS);
    EXPECT_EQ(total - free, overhead + 10 * kGiB);
    EXPECT_EQ(cuMemFree_v2(pointer), CUDA_SUCCESS);
    EXPECT_EQ(cuMemFree_v2(pointer), CUDA_ERROR_INVALID_VALUE) << "twice";
    EXPECT_EQ(cuMemFree_v2(0), CUDA_SUCCESS);
    EXPECT_EQ(MemoryOfGpu().used, overhead);
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 0), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuMemAlloc_v2(&pointer, kGiB), CUDA_SUCCESS);
  });
  EXPECT_EQ(MemoryOfGpu().used, 0u);
}

TEST_F(CudaTest, AFullSliceIsFull) {
  Make("H100-SXM5-80GB");
  const std::string uuid = MakeInstance(19);
  InContext(uuid.c_str(), [] {
    size_t free = 0, total = 0;
    EXPECT_EQ(cuMemGetInfo_v2(&free, &total), CUDA_SUCCESS);
    EXPECT_LT(total, 10 * kGiB);
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 10 * kGiB), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(cuMemAlloc_v2(&pointer, ~uint64_t{0}), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(cuMemAlloc_v2(&pointer, free / (2 << 20) * (2 << 20)), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 4 << 20), CUDA_ERROR_OUT_OF_MEMORY);
  });
}

TEST_F(CudaTest, ProcessesShareAGpu) {
  Make("L40S");
  int held[2], done[2];
  ASSERT_EQ(pipe(held), 0);
  ASSERT_EQ(pipe(done), 0);
  const pid_t holder = Begin("0", [&] {
    CUcontext context = nullptr;
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 30 * kGiB), CUDA_SUCCESS);
    char byte = 0;
    EXPECT_EQ(write(held[1], &byte, 1), 1);
    close(done[1]);
    EXPECT_EQ(read(done[0], &byte, 1), 0);
  });
  char byte;
  ASSERT_EQ(read(held[0], &byte, 1), 1);
  InContext("0", [] {
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 30 * kGiB), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 10 * kGiB), CUDA_SUCCESS);
  });
  for (const int fd : {held[0], held[1], done[0], done[1]}) close(fd);
  End(holder);
}

TEST_F(CudaTest, KillNineGivesTheMemoryBack) {
  Make("T4");
  int held[2];
  ASSERT_EQ(pipe(held), 0);
  const pid_t child = Begin("0", [&] {
    CUcontext context = nullptr;
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
    char byte = 0;
    EXPECT_EQ(write(held[1], &byte, 1), 1);
    pause();
  });
  char byte;
  ASSERT_EQ(read(held[0], &byte, 1), 1);
  EXPECT_GT(MemoryOfGpu().used, 0u);
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_EQ(MemoryOfGpu().used, 0u);
  close(held[0]);
  close(held[1]);
}

TEST_F(CudaTest, ContextsAreAStackOfEachThread) {
  Make("T4");
  InProcess("0", [&] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    CUcontext a = nullptr, b = nullptr, current = nullptr;
    size_t free = 0, total = 0;
    EXPECT_EQ(cuMemGetInfo_v2(&free, &total), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(cuCtxCreate_v2(&a, 0, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxCreate_v2(&b, 0, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxGetCurrent(&current), CUDA_SUCCESS);
    EXPECT_EQ(current, b);
    EXPECT_EQ(cuCtxPopCurrent_v2(&current), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxGetCurrent(&current), CUDA_SUCCESS);
    EXPECT_EQ(current, a);
    std::thread([&] {
      EXPECT_EQ(cuCtxGetCurrent(&current), CUDA_SUCCESS);
      EXPECT_EQ(current, nullptr);
      EXPECT_EQ(cuCtxSetCurrent(a), CUDA_SUCCESS);
      EXPECT_EQ(cuMemGetInfo_v2(&free, &total), CUDA_SUCCESS);
    }).join();
    EXPECT_EQ(cuCtxPushCurrent_v2(b), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxDestroy_v2(b), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxDestroy_v2(b), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(cuCtxSetCurrent(b), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(cuCtxGetCurrent(&current), CUDA_SUCCESS);
    EXPECT_EQ(current, a);
    CUdevice device = -1;
    EXPECT_EQ(cuCtxGetDevice(&device), CUDA_SUCCESS);
    EXPECT_EQ(device, 0);
    EXPECT_EQ(cuCtxDestroy_v2(a), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxPopCurrent_v2(&current), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(MemoryOfGpu().used, 0u);
  });
}

TEST_F(CudaTest, ThePrimaryContextIsSharedAndCounted) {
  Make("T4");
  InProcess("0", [&] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    CUcontext first = nullptr, second = nullptr;
    unsigned int flags = 9;
    int active = 9;
    EXPECT_EQ(cuDevicePrimaryCtxGetState(0, &flags, &active), CUDA_SUCCESS);
    EXPECT_EQ(active, 0);
    EXPECT_EQ(cuDevicePrimaryCtxRelease_v2(0), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(cuDevicePrimaryCtxRetain(&first, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuDevicePrimaryCtxRetain(&second, 0), CUDA_SUCCESS);
    EXPECT_EQ(first, second);
    EXPECT_EQ(cuCtxDestroy_v2(first), CUDA_ERROR_INVALID_CONTEXT);
    EXPECT_EQ(cuCtxSetCurrent(first), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_EQ(cuDevicePrimaryCtxRelease_v2(0), CUDA_SUCCESS);
    EXPECT_GT(MemoryOfGpu().used, 0u);
    EXPECT_EQ(cuDevicePrimaryCtxRelease_v2(0), CUDA_SUCCESS);
    EXPECT_EQ(MemoryOfGpu().used, 0u);
  });
}

TEST_F(CudaTest, WhatIsWrittenIsRead) {
  Make("T4");
  InContext("0", [] {
    constexpr size_t kBytes = 300000;
    CUdeviceptr a = 0, b = 0;
    EXPECT_EQ(cuMemAlloc_v2(&a, kBytes), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAlloc_v2(&b, kBytes), CUDA_SUCCESS);
    std::vector<char> in(kBytes), out(kBytes);
    for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<char>(i * 7);
    EXPECT_EQ(cuMemcpyHtoD_v2(a, in.data(), in.size()), CUDA_SUCCESS);
    EXPECT_EQ(cuMemcpyDtoD_v2(b, a, kBytes), CUDA_SUCCESS);
    EXPECT_EQ(cuMemcpyDtoH_v2(out.data(), b, out.size()), CUDA_SUCCESS);
    EXPECT_EQ(in, out);
    EXPECT_EQ(cuMemsetD8_v2(b + 1, 0x5a, 200000), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD32_v2(b + 200004, 0x01020304, 2), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD32_v2(b + 2, 0, 1), CUDA_ERROR_INVALID_VALUE) << "not aligned";
    EXPECT_EQ(cuMemcpyDtoH_v2(out.data(), b, out.size()), CUDA_SUCCESS);
    EXPECT_EQ(out[0], in[0]);
    EXPECT_EQ(out[1], 0x5a);
    EXPECT_EQ(out[200000], 0x5a);
    EXPECT_EQ(out[200001], in[200001]);
    EXPECT_EQ(out[200004], 4);
    EXPECT_EQ(out[200007], 1);
    EXPECT_EQ(out[200012], in[200012]);
    EXPECT_EQ(cuMemcpyHtoD_v2(a + 1, in.data(), in.size()), CUDA_ERROR_INVALID_VALUE)
        << "past its end";
    EXPECT_EQ(cuMemcpyDtoH_v2(out.data(), 4096, 1), CUDA_ERROR_INVALID_VALUE);
    CUdeviceptr base = 0;
    size_t size = 0;
    EXPECT_EQ(cuMemGetAddressRange_v2(&base, &size, a + 12345), CUDA_SUCCESS);
    EXPECT_EQ(base, a);
    EXPECT_EQ(size, kBytes);
  });
}

TEST_F(CudaTest, ALargeFillCostsTheHostNothing) {
  Make("H100-SXM5-80GB");
  InContext("0", [] {
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 40 * kGiB), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD8_v2(pointer, 7, 40 * kGiB), CUDA_SUCCESS);
    char byte = 0;
    EXPECT_EQ(cuMemcpyDtoH_v2(&byte, pointer + 39 * kGiB, 1), CUDA_SUCCESS);
    EXPECT_EQ(byte, 7);
  });
}

TEST_F(CudaTest, StreamsAndEvents) {
  Make("T4");
  InContext("0", [] {
    CUstream stream = nullptr;
    CUevent begin = nullptr, end = nullptr;
    EXPECT_EQ(cuStreamCreate(&stream, 1), CUDA_SUCCESS);
    EXPECT_EQ(cuEventCreate(&begin, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuEventCreate(&end, 0), CUDA_SUCCESS);
    float milliseconds = -1;
    EXPECT_EQ(cuEventElapsedTime(&milliseconds, begin, end), CUDA_ERROR_INVALID_HANDLE)
        << "not recorded";
    EXPECT_EQ(cuEventRecord(begin, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(end, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuEventSynchronize(end), CUDA_SUCCESS);
    EXPECT_EQ(cuEventElapsedTime(&milliseconds, begin, end), CUDA_SUCCESS);
    EXPECT_GE(milliseconds, 0);
    EXPECT_EQ(cuStreamQuery(stream), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamDestroy_v2(stream), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(cuStreamSynchronize(nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuEventDestroy_v2(begin), CUDA_SUCCESS);
    EXPECT_EQ(cuEventQuery(begin), CUDA_ERROR_INVALID_HANDLE);
  });
}

TEST_F(CudaTest, AnXidKillsTheContext) {
  Make("H100-SXM5-80GB");
  InContext("0", [&] {
    EXPECT_EQ(cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_EQ(machine_->Update([&](MachineState& state) {
      return RaiseXid(machine_->spec(), &state, 0, 31, kNoId, kNoId, machine_->WallNs());
    }),
              Rc::kOk);
    EXPECT_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 1024), CUDA_ERROR_ILLEGAL_ADDRESS) << "for good";
    CUcontext context = nullptr;
    EXPECT_EQ(cuCtxGetCurrent(&context), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxDestroy_v2(context), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS) << "another one is well";
    EXPECT_EQ(cuCtxSynchronize(), CUDA_SUCCESS);
  });
}

TEST_F(CudaTest, ALoadShowsOnTheMachine) {
  Make("H100-SXM5-80GB");
  InContext("0", [&] {
    EXPECT_EQ(cuTrancheSimSetLoad(0.5, 0.25), CUDA_SUCCESS);
    const Load load = LoadOfGpu(machine_->spec(), *machine_->Snapshot(), 0);
    EXPECT_DOUBLE_EQ(load.sm, 0.5);
    EXPECT_DOUBLE_EQ(load.memory, 0.25);
  });
}

TEST_F(CudaTest, FunctionsAreFoundByNameAndVersion) {
  Make("T4");
  InProcess("0", [] {
    void* function = nullptr;
    CUdriverProcAddressQueryResult status;
    EXPECT_EQ(cuGetProcAddress_v2("cuMemAlloc", &function, 12000, 0, &status), CUDA_SUCCESS);
    EXPECT_EQ(function, reinterpret_cast<void*>(&cuMemAlloc_v2));
    EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS);
    EXPECT_EQ(cuGetProcAddress("cuMemAlloc", &function, 3000, 0), CUDA_SUCCESS);
    EXPECT_EQ(function, reinterpret_cast<void*>(&cuMemAlloc));
    EXPECT_EQ(cuGetProcAddress("cuCtxCreate", &function, 12040, 0), CUDA_SUCCESS);
    EXPECT_EQ(function, reinterpret_cast<void*>(&cuCtxCreate_v3));
    EXPECT_EQ(cuGetProcAddress("cuGetProcAddress", &function, 12000, 0), CUDA_SUCCESS);
    EXPECT_EQ(function, reinterpret_cast<void*>(&cuGetProcAddress_v2));
    EXPECT_EQ(cuGetProcAddress_v2("cuMemAllocAsync", &function, 11000, 0, &status),
              CUDA_ERROR_NOT_FOUND);
    EXPECT_EQ(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    EXPECT_EQ(cuGetProcAddress_v2("cuNoSuchThing", &function, 12000, 0, &status),
              CUDA_ERROR_NOT_FOUND);
    EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    EXPECT_EQ(function, nullptr);
  });
}

TEST_F(CudaTest, ErrorsHaveNames) {
  const char* text = nullptr;
  EXPECT_EQ(cuGetErrorName(CUDA_ERROR_OUT_OF_MEMORY, &text), CUDA_SUCCESS);
  EXPECT_STREQ(text, "CUDA_ERROR_OUT_OF_MEMORY");
  EXPECT_EQ(cuGetErrorString(CUDA_ERROR_OUT_OF_MEMORY, &text), CUDA_SUCCESS);
  EXPECT_STREQ(text, "out of memory");
  EXPECT_EQ(cuGetErrorName(static_cast<CUresult>(998), &text), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(text, nullptr);
}

}  // namespace
}  // namespace tranche::sim
