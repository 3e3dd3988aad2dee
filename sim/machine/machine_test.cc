#include "sim/machine/machine.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "sim/machine/lifecycle.h"
#include "sim/machine/memory_limits.h"
#include "sim/machine/mig.h"
#include "sim/machine/process_table.h"
#include "sim/machine/usage.h"
#include "sim/test/scratch.h"

namespace tranche::sim {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

// Passes time without the kernel knowing.
void Spin(uint32_t rounds) {
  for (; rounds > 0; --rounds) std::atomic_signal_fence(std::memory_order_seq_cst);
}

class MachineTest : public testing::Test {
 protected:
  void Make(const std::string& model, uint32_t count = 1) {
    ASSERT_TRUE(Machine::Create(dir_, SpecOf(model, count)));
    machine_ = Open();
  }
  std::unique_ptr<Machine> Open() {
    auto opened = Machine::Open(dir_, clock_.options());
    EXPECT_TRUE(opened) << opened.error().message;
    return opened ? std::move(*opened) : nullptr;
  }
  // In another process; its exit code.
  int InChild(const std::function<int()>& body) {
    pid_t pid = fork();
    if (pid == 0) _exit(body());
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  MemoryInfo MemoryOfGpu(uint32_t gpu) {
    MemoryInfo info;
    EXPECT_EQ(machine_->GetMemory({gpu, 0}, &info), Rc::kOk);
    return info;
  }

  ScratchDir scratch_;
  std::string dir_ = scratch_.path() + "/machine";
  TestClock clock_;
  std::unique_ptr<Machine> machine_;
};

TEST_F(MachineTest, IsThereOnce) {
  EXPECT_EQ(Machine::Open(dir_).error().code, ErrorCode::kUnavailable);
  Make("h100-sxm", 2);
  EXPECT_EQ(machine_->spec().gpu_count, 2u);
  EXPECT_STRNE(machine_->spec().gpus[0].uuid, machine_->spec().gpus[1].uuid);
  EXPECT_EQ(Machine::Create(dir_, SpecOf("t4")).error().code, ErrorCode::kInvalid);
}

TEST_F(MachineTest, DamagedFilesAreRefused) {
  Make("t4");
  std::ofstream(dir_ + "/machine.state", std::ios::trunc) << "short";
  EXPECT_EQ(Machine::Open(dir_).error().code, ErrorCode::kUnavailable);
  std::ofstream(dir_ + "/machine.state", std::ios::trunc) << std::string(1 << 20, 'x');
  EXPECT_EQ(Machine::Open(dir_).error().code, ErrorCode::kUnavailable);
}

TEST_F(MachineTest, FailedChangesLeaveNothing) {
  Make("h100-sxm");
  Rc rc = machine_->Update([](MachineState& state) {
    state.gpus[0].mig_mode = 1;
    return Rc::kInUse;
  });
  EXPECT_EQ(rc, Rc::kInUse);
  machine_->Read([](const MachineState& state) {
    EXPECT_EQ(state.gpus[0].mig_mode, 0u);
    return Rc::kOk;
  });
}

TEST_F(MachineTest, MemoryIsHeldAndGivenBack) {
  Make("l40s");
  uint64_t context = 0;
  uint64_t free_before = MemoryOfGpu(0).free;
  ASSERT_EQ(machine_->CreateContext({0, 0}, kCompute, kGiB, &context), Rc::kOk);
  EXPECT_EQ(machine_->Allocate(context, 4 * kGiB), Rc::kOk);
  EXPECT_EQ(MemoryOfGpu(0).used, 5 * kGiB);
  EXPECT_EQ(machine_->Allocate(context, 100 * kGiB), Rc::kInsufficientResources);
  EXPECT_EQ(machine_->Free(context, 100 * kGiB), Rc::kInvalid);
  EXPECT_EQ(machine_->Free(context, 4 * kGiB), Rc::kOk);
  EXPECT_EQ(machine_->Allocate(context + 1, 1), Rc::kNotFound);
  EXPECT_EQ(machine_->DestroyContext(context), Rc::kOk);
  EXPECT_EQ(machine_->DestroyContext(context), Rc::kNotFound);
  EXPECT_EQ(MemoryOfGpu(0).free, free_before);
}

// The last byte can be had, and not one more.
TEST_F(MachineTest, MemoryEndsExactly) {
  Make("t4");
  uint64_t context = 0;
  ASSERT_EQ(machine_->CreateContext({0, 0}, kCompute, 0, &context), Rc::kOk);
  uint64_t free = MemoryOfGpu(0).free;
  EXPECT_EQ(machine_->Allocate(context, free + 1), Rc::kInsufficientResources);
  EXPECT_EQ(machine_->Allocate(context, free), Rc::kOk);
  EXPECT_EQ(MemoryOfGpu(0).free, 0u);
  EXPECT_EQ(machine_->Allocate(context, 1), Rc::kInsufficientResources);
}

TEST_F(MachineTest, OthersCannotTouchAContext) {
  Make("t4");
  uint64_t context = 0;
  ASSERT_EQ(machine_->CreateContext({0, 0}, kCompute, kGiB, &context), Rc::kOk);
  EXPECT_EQ(InChild([&] {
              auto other = Open();
              bool refused = other->Free(context, kGiB) == Rc::kNotFound &&
                             other->DestroyContext(context) == Rc::kNotFound &&
                             other->SetLoad(context, 1, 1) == Rc::kNotFound;
              return refused ? 0 : 1;
            }),
            0);
  EXPECT_EQ(MemoryOfGpu(0).used, kGiB);
}

TEST_F(MachineTest, TheDeadHoldNothing) {
  Make("h100-sxm");
  int code = InChild([&] {
    uint64_t context = 0;
    auto other = Open();
    if (other->CreateContext({0, 0}, kCompute, 2 * kGiB, &context) != Rc::kOk) return 1;
    return MemoryOfGpu(0).used == 2 * kGiB ? 0 : 2;
  });
  EXPECT_EQ(code, 0);
  EXPECT_EQ(MemoryOfGpu(0).used, 0u);
  EXPECT_EQ(machine_->Snapshot()->processes[0].pid, 0u);
}

// A zombie has closed its files: it holds nothing either, although its pid is still taken.
TEST_F(MachineTest, ZombiesHoldNothing) {
  Make("h100-sxm");
  pid_t pid = fork();
  if (pid == 0) {
    uint64_t context = 0;
    _exit(Open()->CreateContext({0, 0}, kCompute, kGiB, &context) == Rc::kOk ? 0 : 1);
  }
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);
  EXPECT_EQ(info.si_status, 0);
  EXPECT_EQ(MemoryOfGpu(0).used, 0u);
  waitpid(pid, nullptr, 0);
}

// The same pid with another start time is another process.
TEST_F(MachineTest, AReusedPidIsAnotherProcess) {
  Process self;
  ASSERT_TRUE(DescribeProcess(static_cast<uint32_t>(getpid()), &self));
  EXPECT_TRUE(IsAlive(self));
  self.start_ticks -= 1;
  EXPECT_FALSE(IsAlive(self));
}

TEST_F(MachineTest, ComputeModesKeepOthersOut) {
  Make("l40s");
  machine_->Update([](MachineState& state) {
    state.gpus[0].compute_mode = 3;
    return Rc::kOk;
  });
  uint64_t first = 0;
  ASSERT_EQ(machine_->CreateContext({0, 0}, kCompute, 0, &first), Rc::kOk);
  EXPECT_EQ(InChild([&] {
              uint64_t context = 0;
              Rc rc = Open()->CreateContext({0, 0}, kCompute, 0, &context);
              return rc == Rc::kExclusive ? 0 : 1;
            }),
            0);
  // The same process may have more.
  uint64_t second = 0;
  EXPECT_EQ(machine_->CreateContext({0, 0}, kCompute, 0, &second), Rc::kOk);
}

TEST_F(MachineTest, LimitsOfCgroupsHoldAllTheirProcessesAtOnce) {
  Make("h100-sxm");
  ASSERT_EQ(machine_->Update([](MachineState& state) {
    SetMemoryLimit(&state, 0, "/a", 0, 4 * kGiB);
    return SetMemoryLimit(&state, 0, "/a/b", 0, 3 * kGiB);
  }),
            Rc::kOk);
  setenv("TRANCHE_SIM_CGROUP", "/a/b", 1);
  uint64_t context = 0;
  ASSERT_EQ(machine_->CreateContext({0, 0}, kCompute, kGiB, &context), Rc::kOk);
  EXPECT_EQ(machine_->Allocate(context, 2 * kGiB + 1), Rc::kInsufficientResources);
  EXPECT_EQ(machine_->Allocate(context, kGiB), Rc::kOk);
  MemoryInfo own;
  ASSERT_EQ(machine_->GetOwnMemory({0, 0}, kNoLimit, &own), Rc::kOk);
  EXPECT_EQ(own.total, 3 * kGiB) << "the limit on one's very cgroup is the size of the GPU";
  EXPECT_EQ(own.free, kGiB);
  setenv("TRANCHE_SIM_CGROUP", "/a/c", 1);
  ASSERT_EQ(machine_->GetOwnMemory({0, 0}, kNoLimit, &own), Rc::kOk);
  EXPECT_GT(own.total, 70 * kGiB) << "one further up only bounds what is free";
  EXPECT_EQ(own.free, 2 * kGiB);
  EXPECT_EQ(InChild([&] {
              uint64_t other = 0;
              auto machine = Open();
              if (machine->CreateContext({0, 0}, kCompute, kGiB, &other) != Rc::kOk) return 1;
              if (machine->Allocate(other, kGiB) != Rc::kOk) return 2;
              return machine->Allocate(other, 1) == Rc::kInsufficientResources ? 0 : 3;
            }),
            0);
  unsetenv("TRANCHE_SIM_CGROUP");
  EXPECT_EQ(machine_->Allocate(context, kGiB), Rc::kOk) << "the child is gone";
}

TEST_F(MachineTest, InstancesShareMemoryByGpuInstance) {
  Make("a100-40");
  uint64_t gi = 0, one = 0, two = 0, whole = 0;
  const GpuSpec& spec = machine_->spec().gpus[0];
  ASSERT_EQ(machine_->CreateContext({0, 0}, kCompute, 0, &whole), Rc::kOk);
  ASSERT_EQ(machine_->DestroyContext(whole), Rc::kOk);
  ASSERT_EQ(machine_->Update([&](MachineState& state) {
    Rc activation;
    Rc rc = SetMigMode(machine_->spec(), &state, 0, 1, &activation);
    if (rc == Rc::kOk) rc = CreateGpuInstance(spec, &state, 0, 9, -1, &gi);
    if (rc == Rc::kOk) rc = CreateComputeInstance(spec, &state, 0, gi, 0, -1, &one);
    if (rc == Rc::kOk) rc = CreateComputeInstance(spec, &state, 0, gi, 1, -1, &two);
    return rc;
  }),
            Rc::kOk);
  EXPECT_EQ(machine_->CreateContext({0, 0}, kCompute, 0, &whole), Rc::kNotSupported);
  uint64_t a = 0, b = 0;
  ASSERT_EQ(machine_->CreateContext({0, one}, kCompute, 10 * kGiB, &a), Rc::kOk);
  EXPECT_EQ(machine_->CreateContext({0, two}, kCompute, 10 * kGiB, &b), Rc::kInsufficientResources);
  EXPECT_EQ(machine_->CreateContext({0, two}, kCompute, 9 * kGiB, &b), Rc::kOk);
  EXPECT_EQ(machine_->CreateContext({0, two + 100}, kCompute, 0, &b), Rc::kNotFound);
  MemoryInfo info;
  EXPECT_EQ(machine_->GetMemory({0, one}, &info), Rc::kOk);
  EXPECT_EQ(info.used, 19 * kGiB);
  EXPECT_EQ(info.total, uint64_t{19968} << 20);
}

TEST_F(MachineTest, TimeFillsTheIntegrals) {
  Make("h100-sxm");
  uint64_t context = 0;
  ASSERT_EQ(machine_->CreateContext({0, 0}, kCompute, 0, &context), Rc::kOk);
  ASSERT_EQ(machine_->SetLoad(context, 0.5, 0.25), Rc::kOk);
  double before = machine_->Snapshot()->gpus[0].energy_joules;
  clock_.now_ns += 10'000'000'000;
  auto state = machine_->Snapshot();
  EXPECT_DOUBLE_EQ(state->gpus[0].busy_seconds, 5.0);
  EXPECT_DOUBLE_EQ(state->gpus[0].memory_busy_seconds, 2.5);
  // 12 % of 700 W idle, and half of the rest.
  EXPECT_NEAR(state->gpus[0].energy_joules - before, (84 + 308) * 10.0, 1e-6);
  ASSERT_EQ(machine_->DestroyContext(context), Rc::kOk);
  clock_.now_ns += 10'000'000'000;
  EXPECT_DOUBLE_EQ(machine_->Snapshot()->gpus[0].busy_seconds, 5.0);
}

TEST_F(MachineTest, AccountsOfProcesses) {
  Make("t4");
  machine_->Update([](MachineState& state) {
    state.gpus[0].accounting = 1;
    return Rc::kOk;
  });
  uint64_t context = 0;
  ASSERT_EQ(machine_->CreateContext({0, 0}, kCompute, kGiB, &context), Rc::kOk);
  ASSERT_EQ(machine_->Allocate(context, kGiB), Rc::kOk);
  ASSERT_EQ(machine_->Free(context, kGiB), Rc::kOk);
  ASSERT_EQ(machine_->SetLoad(context, 1, 0), Rc::kOk);
  clock_.now_ns += 2'000'000'000;
  ASSERT_EQ(machine_->DestroyContext(context), Rc::kOk);
  auto state = machine_->Snapshot();
  const Account& account = state->accounts[0];
  EXPECT_EQ(account.pid, static_cast<uint32_t>(getpid()));
  EXPECT_EQ(account.running, 0u);
  EXPECT_EQ(account.max_memory_bytes, 2 * kGiB);
  EXPECT_EQ(account.end_us - account.start_us, 2'000'000u);
  EXPECT_DOUBLE_EQ(account.busy_seconds, 2.0);
}

TEST_F(MachineTest, XidsHitTheirInstance) {
  Make("h100-sxm");
  const GpuSpec& spec = machine_->spec().gpus[0];
  uint64_t gi[2], ci[2], context[2];
  ASSERT_EQ(machine_->Update([&](MachineState& state) {
    Rc activation;
    SetMigMode(machine_->spec(), &state, 0, 1, &activation);
    for (int i = 0; i < 2; ++i) {
      Rc rc = CreateGpuInstance(spec, &state, 0, 19, -1, &gi[i]);
      if (rc == Rc::kOk) rc = CreateComputeInstance(spec, &state, 0, gi[i], 0, -1, &ci[i]);
      if (rc != Rc::kOk) return rc;
    }
    return Rc::kOk;
  }),
            Rc::kOk);
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(machine_->CreateContext({0, ci[i]}, kCompute, 0, &context[i]), Rc::kOk);
  }
  auto raise = [&](uint32_t xid, uint32_t id) {
    return machine_->Update([&](MachineState& state) {
      return RaiseXid(machine_->spec(), &state, 0, xid, id, kNoId, 0);
    });
  };
  ASSERT_EQ(raise(31, 13), Rc::kOk);  // the first 1g of seven stands at 6, instance 13
  uint32_t xid = 9;
  EXPECT_EQ(machine_->ContextFault(context[0], &xid), Rc::kOk);
  EXPECT_EQ(xid, 31u);
  EXPECT_EQ(machine_->ContextFault(context[1], &xid), Rc::kOk);
  EXPECT_EQ(xid, 0u);
  EXPECT_EQ(raise(31, 1), Rc::kNotFound);
  // An uncontained memory error takes them all.
  ASSERT_EQ(raise(95, kNoId), Rc::kOk);
  EXPECT_EQ(machine_->ContextFault(context[1], &xid), Rc::kOk);
  EXPECT_EQ(xid, 95u);
}

TEST_F(MachineTest, WhatPersists) {
  struct Case {
    const char* model;
    uint32_t after_reload;
  };
  for (const Case& c : {Case{"a100-40", 1}, Case{"h100-sxm", 0}, Case{"rtx-pro-6000-server", 0}}) {
    dir_ = scratch_.path() + "/" + c.model;
    Make(c.model);
    const MachineSpec& spec = machine_->spec();
    machine_->Update([&](MachineState& state) {
      Rc activation;
      uint64_t gi;
      SetMigMode(spec, &state, 0, 1, &activation);
      EXPECT_EQ(CreateGpuInstance(spec.gpus[0], &state, 0, 0, -1, &gi), Rc::kOk);
      EXPECT_EQ(ResetGpu(spec, &state, 0), Rc::kOk);
      EXPECT_TRUE(ListGis(state.gpus[0]).empty());
      EXPECT_EQ(state.gpus[0].mig_mode, 1u) << c.model;
      state.gpus[0].compute_mode = 3;
      EXPECT_EQ(ReloadDriver(spec, &state, 0), Rc::kOk);
      EXPECT_EQ(state.gpus[0].mig_mode, c.after_reload) << c.model;
      EXPECT_EQ(state.gpus[0].compute_mode, 0u);
      return Rc::kOk;
    });
  }
}

// A writer killed at any instant: the machine is as it was before one of its changes, or after it,
// and the next one can write at once.
TEST_F(MachineTest, SurvivesKilledWriters) {
  Make("h100-sxm", 8);
  std::mt19937 random(20261121);
  uint32_t last = 0;
  for (int round = 0; round < 150; ++round) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
      auto machine = Machine::Open(dir_);
      if (!machine) _exit(1);
      for (uint32_t n = last + 1;; ++n) {
        // Touches both ends of the state and what lies between, slowly: most kills fall into a
        // change.
        (*machine)->Update([&](MachineState& state) {
          for (Gpu& gpu : state.gpus) {
            gpu.power_limit_mw = n;
            Spin(2000);
          }
          for (Event& event : state.events) event.data = n;
          Spin(20000);
          for (Account& account : state.accounts) account.start_us = n;
          return Rc::kOk;
        });
        if (n == last + 1 && write(ready[1], "x", 1) != 1) _exit(1);
      }
    }
    close(ready[1]);
    char byte = 0;
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    // Somewhere in the course of the next changes.
    Spin(random() % 100000);
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);

    Rc rc = machine_->Update([&](MachineState& state) {
      uint32_t n = state.gpus[0].power_limit_mw;
      EXPECT_GT(n, last);
      for (const Gpu& gpu : state.gpus) EXPECT_EQ(gpu.power_limit_mw, n);
      for (const Event& event : state.events) EXPECT_EQ(event.data, n);
      for (const Account& account : state.accounts) EXPECT_EQ(account.start_us, n);
      last = n;
      return Rc::kOk;
    });
    ASSERT_EQ(rc, Rc::kOk);
    ASSERT_FALSE(HasFailure());
  }
}

TEST_F(MachineTest, WaitsForEventsOfOthers) {
  Make("t4");
  // With the clock of the world: this is about waking up.
  auto machine = std::move(*Machine::Open(dir_));
  uint64_t seen = machine->Snapshot()->next_event - 1;
  pid_t pid = fork();
  if (pid == 0) {
    auto other = Machine::Open(dir_);
    Rc rc = (*other)->Update([&](MachineState& state) {
      return RaiseXid((*other)->spec(), &state, 0, 31, kNoId, kNoId, 0);
    });
    _exit(rc == Rc::kOk ? 0 : 1);
  }
  for (int i = 0; i < 600 && machine->Snapshot()->next_event - 1 == seen; ++i) {
    machine->WaitForEvent(seen, 100);
  }
  EXPECT_EQ(machine->Snapshot()->next_event - 1, seen + 1);
  waitpid(pid, nullptr, 0);
}

}  // namespace
}  // namespace tranche::sim
