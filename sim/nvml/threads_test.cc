#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "abi/nvml.h"
#include "sim/test/scratch.h"

// Several threads of one program use the library at once, each with its own nvmlInit and
// nvmlShutdown.
namespace tranche::sim {
namespace {

TEST(NvmlThreads, EachComesAndGoes) {
  ScratchDir scratch;
  std::string dir = scratch.path() + "/machine";
  MachineSpec spec = SpecOf("h100-sxm", 4);
  ASSERT_TRUE(Machine::Create(dir, spec));
  setenv("TRANCHE_SIM_DIR", dir.c_str(), 1);
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (unsigned int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      auto check = [&](nvmlReturn_t rc) {
        if (rc != NVML_SUCCESS) ++failures;
      };
      for (int round = 0; round < 30; ++round) {
        check(nvmlInit_v2());
        nvmlDevice_t device;
        check(nvmlDeviceGetHandleByIndex_v2(t, &device));
        nvmlReturn_t activation;
        check(nvmlDeviceSetMigMode(device, 1, &activation));
        nvmlGpuInstance_t gi;
        check(nvmlDeviceCreateGpuInstance(device, 19, &gi));
        nvmlComputeInstance_t ci;
        check(nvmlGpuInstanceCreateComputeInstance(gi, 0, &ci));
        nvmlDevice_t mig;
        check(nvmlDeviceGetMigDeviceHandleByIndex(device, 0, &mig));
        nvmlMemory_t memory;
        check(nvmlDeviceGetMemoryInfo(mig, &memory));
        nvmlEventSet_t set;
        check(nvmlEventSetCreate(&set));
        check(nvmlDeviceRegisterEvents(device, nvmlEventTypeXidCriticalError, set));
        nvmlEventData_t data;
        if (nvmlEventSetWait_v2(set, &data, 0) != NVML_ERROR_TIMEOUT) ++failures;
        check(nvmlEventSetFree(set));
        check(nvmlComputeInstanceDestroy(ci));
        check(nvmlGpuInstanceDestroy(gi));
        check(nvmlShutdown());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(nvmlShutdown(), static_cast<nvmlReturn_t>(NVML_ERROR_UNINITIALIZED));
}

}  // namespace
}  // namespace tranche::sim
