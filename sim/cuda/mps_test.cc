// Clients of MPS: what they see, what they may have, and whose faults are theirs. And the kernel's
// memory limits, which hold whoever allocates.
#include "sim/machine/mps.h"

#include <fcntl.h>

#include <cstring>

#include "sim/machine/lifecycle.h"
#include "sim/machine/memory_limits.h"
#include "sim/machine/sm_partitions.h"
#include "sim/test/cuda_fixture.h"

namespace tranche::sim {
namespace {

constexpr char kPipe[] = "/mps/pipe";

class CudaMps : public CudaProcess {
 protected:
  void Start(MpsServer server = {}) {
    std::strcpy(server.pipe_directory, kPipe);
    server.gpus = 1;
    if (server.uid == 0) server.uid = geteuid();
    ASSERT_EQ(machine_->Update([&](MachineState& state) {
      return StartMpsServer(machine_->spec(), &state, server, &server_);
    }),
              Rc::kOk);
  }
  // Its name for clients.
  std::string Divide(uint32_t chunks) {
    SmPartition wanted;
    wanted.server = server_;
    wanted.chunks = chunks;
    EXPECT_EQ(machine_->Update([&](MachineState& state) {
      return AddSmPartition(machine_->spec(), &state, wanted, &wanted.serial);
    }),
              Rc::kOk);
    return std::string(machine_->spec().gpus[0].uuid) + "/" + SmPartitionId(wanted);
  }
  // A client, which may fail to have a context.
  void AsClient(const std::function<void()>& body) {
    const pid_t child = fork();
    if (child == 0) {
      setenv("TRANCHE_SIM_DIR", dir_.c_str(), 1);
      setenv("CUDA_MPS_PIPE_DIRECTORY", kPipe, 1);
      unsetenv("CUDA_VISIBLE_DEVICES");
      body();
      _exit(HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the process failed: " << status;
  }
  static CUresult MakeContext() {
    CUcontext context = nullptr;
    return cuCtxCreate_v2(&context, 0, 0);
  }
  static int Sms() {
    int sms = 0;
    EXPECT_EQ(cuDeviceGetAttribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0),
              CUDA_SUCCESS);
    return sms;
  }

  uint64_t server_ = 0;
};

TEST_F(CudaMps, AClientSeesItsSmsAndTheWholeMemory) {
  MpsServer server;
  server.thread_percentage = 50;
  server.memory_limits[0] = 10 * 1024 * kMiB;
  Start(server);
  AsClient([] {
    setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=5G", 1);
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(Sms(), 66);
    EXPECT_EQ(MakeContext(), CUDA_SUCCESS);
    size_t free = 0, total = 0;
    EXPECT_EQ(cuMemGetInfo_v2(&free, &total), CUDA_SUCCESS);
    EXPECT_GT(total, 70 * 1024 * kMiB);
    EXPECT_EQ(free, 5 * 1024 * kMiB - (128 + 3 * 132) * kMiB) << "its context counts";
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAlloc_v2(&pointer, free + kMiB), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(cuMemAlloc_v2(&pointer, free), CUDA_SUCCESS);
    // Over all its contexts, and handles that belong to none.
    EXPECT_EQ(MakeContext(), CUDA_ERROR_OUT_OF_MEMORY);
    CUmemAllocationProp properties = {};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    CUmemGenericAllocationHandle handle = 0;
    EXPECT_EQ(cuMemCreate(&handle, 2 * kMiB, &properties, 0), CUDA_ERROR_OUT_OF_MEMORY);
  });
  InContext([] { EXPECT_EQ(Sms(), 132) << "no client"; });
}

TEST_F(CudaMps, OneClientsFaultIsEverybodys) {
  Start();
  int report[2];
  ASSERT_EQ(pipe(report), 0);
  int release[2];
  ASSERT_EQ(pipe(release), 0);
  const pid_t other = fork();
  if (other == 0) {
    setenv("TRANCHE_SIM_DIR", dir_.c_str(), 1);
    setenv("CUDA_MPS_PIPE_DIRECTORY", kPipe, 1);
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(MakeContext(), CUDA_SUCCESS);
    char byte = 0;
    EXPECT_EQ(write(report[1], &byte, 1), 1);
    EXPECT_EQ(read(release[0], &byte, 1), 1);
    EXPECT_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS) << "another one's fault";
    _exit(HasFailure() ? 1 : 0);
  }
  char byte = 0;
  ASSERT_EQ(read(report[0], &byte, 1), 1);
  AsClient([&] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(MakeContext(), CUDA_SUCCESS);
    EXPECT_EQ(machine_->Update([&](MachineState& state) {
      return FaultProcess(machine_->spec(), &state, 0, 31, static_cast<uint32_t>(getpid()), 1);
    }),
              Rc::kOk);
    EXPECT_EQ(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
  });
  AsClient([] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(MakeContext(), CUDA_ERROR_MPS_SERVER_NOT_READY) << "until the others are gone";
  });
  InContext([] { EXPECT_EQ(cuCtxSynchronize(), CUDA_SUCCESS) << "no client, no fault"; });
  ASSERT_EQ(write(release[1], &byte, 1), 1);
  int status = 0;
  ASSERT_EQ(waitpid(other, &status, 0), other);
  EXPECT_EQ(status, 0);
  AsClient([] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(MakeContext(), CUDA_SUCCESS) << "it is well again";
  });
}

TEST_F(CudaMps, AServerServesItsUserAndItsMode) {
  MpsServer server;
  server.uid = geteuid() + 1;
  Start(server);
  ASSERT_EQ(machine_->Update([](MachineState& state) {
    state.gpus[0].compute_mode = 3;  // one process, or the MPS server
    return Rc::kOk;
  }),
            Rc::kOk);
  AsClient([&] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(MakeContext(), CUDA_ERROR_NOT_PERMITTED);
    EXPECT_EQ(machine_->Update([](MachineState& state) {
      state.mps_servers[0].any_user = 1;
      return Rc::kOk;
    }),
              Rc::kOk);
    EXPECT_EQ(MakeContext(), CUDA_SUCCESS);
    const pid_t second = fork();
    if (second == 0) {
      // A new process, as far as CUDA is concerned, needs a new program; the machine itself says.
      uint64_t context = 0;
      auto machine = Machine::Open(dir_);
      const Rc without = (*machine)->CreateContext({0, 0}, kCompute, 0, &context);
      const Rc with = (*machine)->CreateContext({0, 0}, kMps, 0, {1, kNoLimit}, &context);
      _exit(without == Rc::kExclusive && with == Rc::kOk ? 0 : 1);
    }
    int status = 0;
    EXPECT_EQ(waitpid(second, &status, 0), second);
    EXPECT_EQ(status, 0);
    EXPECT_EQ(machine_->Update([](MachineState& state) { return StopMpsServer(&state, kPipe); }),
              Rc::kInUse);
  });
  EXPECT_EQ(machine_->Update([](MachineState& state) { return StopMpsServer(&state, kPipe); }),
            Rc::kOk);
}

TEST_F(CudaMps, AServerHasRoomForSoManyClients) {
  Start();
  // Driver 580 is of CUDA 13.0: 48. Other processes are made up, under this test's own pid and on.
  EXPECT_EQ(machine_->Update([&](MachineState& state) {
    const MpsClient client{state.mps_servers[0].serial, kNoLimit};
    for (uint32_t i = 0; i < 48; ++i) {
      EXPECT_EQ(AdmitMpsClient(machine_->spec(), state, client, {0, 0}, geteuid()), Rc::kOk) << i;
      state.contexts[i].serial = 1000 + i;
      state.contexts[i].pid = 100000 + i;
      state.contexts[i].mps_server = client.server;
      state.contexts[i].kind = kMps;
    }
    EXPECT_EQ(AdmitMpsClient(machine_->spec(), state, client, {0, 0}, geteuid()), Rc::kMpsFull);
    return Rc::kInvalid;  // as if it had not been
  }),
            Rc::kInvalid);
}

TEST_F(CudaMps, AStaticPartitionIsWhatAClientSees) {
  Start();
  const std::string first = Divide(4), last = Divide(12);
  const std::string uuid = machine_->spec().gpus[0].uuid;
  AsClient([&] {
    setenv("CUDA_MPS_SM_PARTITION", first.c_str(), 1);
    setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "10", 1);
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(Sms(), 32) << "whatever the percentage is";
    EXPECT_EQ(MakeContext(), CUDA_SUCCESS);
    EXPECT_EQ(machine_->Update([&](MachineState& state) {
      const Context* mine = nullptr;
      for (const Context& context : state.contexts) {
        if (context.pid == static_cast<uint32_t>(getpid())) mine = &context;
      }
      return mine == nullptr ? Rc::kNotFound : RemoveSmPartition(&state, mine->mps_partition);
    }),
              Rc::kInUse)
        << "this client is in it";
  });
  // In full, or by as much of the UUID as there is no other one with.
  for (const std::string& name : {last, "GPU-" + uuid.substr(4, 8) + last.substr(uuid.size())}) {
    AsClient([&] {
      setenv("CUDA_MPS_SM_PARTITION", name.c_str(), 1);
      EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
      EXPECT_EQ(Sms(), 100) << "the last one has the 4 SMs that make no chunk";
      EXPECT_EQ(MakeContext(), CUDA_SUCCESS);
    });
  }
  for (const std::string& name : {std::string("none"), uuid + "/3", uuid + "/", last + "x"}) {
    AsClient([&] {
      setenv("CUDA_MPS_SM_PARTITION", name.c_str(), 1);
      EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
      EXPECT_EQ(MakeContext(), CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION) << name;
    });
  }
  AsClient([] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(MakeContext(), CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION) << "none is named";
  });
}

TEST_F(CudaMps, PartitionsAreMadeOfChunksThatAreFree) {
  Start();
  const auto add = [&](uint32_t chunks, uint32_t protocol, bool remainder) {
    SmPartition wanted;
    wanted.server = server_;
    wanted.chunks = chunks;
    wanted.protocol = protocol;
    wanted.asked_remainder = remainder ? 1 : 0;
    Rc rc = machine_->Update([&](MachineState& state) {
      return AddSmPartition(machine_->spec(), &state, wanted, &wanted.serial);
    });
    return std::pair(rc, SmPartitionId(wanted));
  };
  EXPECT_EQ(add(17, 2, false).first, Rc::kInsufficientResources);
  EXPECT_EQ(add(0, 2, false).first, Rc::kInsufficientResources);
  const auto text = add(4, 2, false), named = add(8, 3, true);
  EXPECT_EQ(add(1, 3, true).first, Rc::kInsufficientResources) << "the remainder is taken";
  EXPECT_EQ(add(5, 3, false).first, Rc::kInsufficientResources);
  EXPECT_EQ(add(4, 3, false).first, Rc::kOk);
  EXPECT_EQ(text.second.size(), 36u);
  EXPECT_NE(text.second.substr(1), named.second.substr(1)) << "each protocol has its own";
  machine_->Read([&](const MachineState& state) {
    EXPECT_EQ(UsedChunks(state, server_, 0), 16u);
    EXPECT_EQ(FindSmPartition(state, server_, 0, named.second)->sms, 68u);
    EXPECT_EQ(FindSmPartition(state, server_ + 1, 0, named.second), nullptr);
    return Rc::kOk;
  });
}

TEST_F(CudaMps, AGpuThatIsNotSeenMakesAllMemoryLimitsVoid) {
  MpsServer server;
  server.memory_limits[0] = 2048 * kMiB;
  Start(server);
  AsClient([] {
    setenv("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "0=1G,7=1G", 1);
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(MakeContext(), CUDA_SUCCESS);
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 4096 * kMiB), CUDA_SUCCESS) << "the server's as well";
  });
}

TEST_F(CudaMps, AnExclusiveGpuHasOneServer) {
  Start();
  ASSERT_EQ(machine_->Update([](MachineState& state) {
    state.gpus[0].compute_mode = 3;
    return Rc::kOk;
  }),
            Rc::kOk);
  AsClient([&] {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    EXPECT_EQ(MakeContext(), CUDA_SUCCESS);
    const pid_t second = fork();
    if (second == 0) {
      uint64_t context = 0;
      auto machine = Machine::Open(dir_);
      _exit((*machine)->CreateContext({0, 0}, kCompute, 0, {server_ + 1000, kNoLimit}, &context) ==
                    Rc::kExclusive
                ? 0
                : 1);
    }
    int status = 0;
    EXPECT_EQ(waitpid(second, &status, 0), second);
    EXPECT_EQ(status, 0) << "another server's process";
  });
}

TEST_F(CudaMps, TheKernelsMemoryLimitsHold) {
  ASSERT_EQ(machine_->Update([](MachineState& state) {
    return SetMemoryLimit(&state, 0, "/tenants/a", 0, 2048 * kMiB);
  }),
            Rc::kOk);
  setenv("TRANCHE_SIM_CGROUP", "/tenants/a", 1);
  InContext([] {
    size_t free = 0, total = 0;
    EXPECT_EQ(cuMemGetInfo_v2(&free, &total), CUDA_SUCCESS);
    EXPECT_EQ(total, 2048 * kMiB) << "the limit of its own cgroup is the size of the GPU";
    EXPECT_EQ(free, (2048 - 128 - 3 * 132) * kMiB);
    CUdeviceptr pointer = 0, managed = 0;
    EXPECT_EQ(cuMemAlloc_v2(&pointer, free + kMiB), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(cuMemAlloc_v2(&pointer, free), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAllocManaged(&managed, 4096 * kMiB, 1), CUDA_SUCCESS)
        << "managed memory is not counted";
    EXPECT_EQ(cuMemFree_v2(managed), CUDA_SUCCESS);
    EXPECT_EQ(cuMemFree_v2(pointer), CUDA_SUCCESS);
    size_t again = 0;
    EXPECT_EQ(cuMemGetInfo_v2(&again, &total), CUDA_SUCCESS);
    EXPECT_EQ(again, free);
  });
  setenv("TRANCHE_SIM_CGROUP", "/tenants/a/inner", 1);
  InContext([] {
    size_t free = 0, total = 0;
    EXPECT_EQ(cuMemGetInfo_v2(&free, &total), CUDA_SUCCESS);
    EXPECT_GT(total, 70 * 1024 * kMiB) << "a limit further up is not the size";
    EXPECT_EQ(free, (2048 - 128 - 3 * 132) * kMiB) << "but holds";
  });
  unsetenv("TRANCHE_SIM_CGROUP");
}

}  // namespace
}  // namespace tranche::sim
