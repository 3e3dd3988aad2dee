#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>

#include "abi/cuda.h"
#include "sim/test/scratch.h"

namespace tranche::sim {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;

// A machine, and processes on it that use its libcuda. cuInit holds for a process, so every
// scenario runs in one of its own; a scenario uses EXPECT only.
class CudaProcess : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = scratch_.path() + "/machine";
    ASSERT_TRUE(Machine::Create(dir_, SpecOf("H100-SXM5-80GB")));
    auto machine = Machine::Open(dir_);
    ASSERT_TRUE(machine) << machine.error().message;
    machine_ = std::move(*machine);
  }
  // What the whole machine holds on its GPU, as NVML shows it.
  uint64_t Used() {
    MemoryInfo memory;
    EXPECT_EQ(machine_->GetMemory({0, 0}, &memory), Rc::kOk);
    return memory.used;
  }
  // `body` in a process of its own with a current context.
  void InContext(const std::function<void()>& body) {
    const pid_t child = fork();
    if (child == 0) {
      setenv("TRANCHE_SIM_DIR", dir_.c_str(), 1);
      unsetenv("CUDA_VISIBLE_DEVICES");
      EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
      CUcontext context = nullptr;
      EXPECT_EQ(cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
      body();
      _exit(HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the process failed: " << status;
  }

  ScratchDir scratch_;
  std::string dir_;
  std::unique_ptr<Machine> machine_;
};

}  // namespace tranche::sim
