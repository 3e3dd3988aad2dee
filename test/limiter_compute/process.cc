// Processes of a scene (scene.h), on a machine with a clock of its own.
//
//   limiter_compute_process tenant SHAPE SEED MILLISECONDS
//       does what sim/gpu_time/programs.h says of that shape, by whatever libcuda.so.1 it finds,
//       for so long from when the clock began to run; prints "request START_NS END_NS" for each:
//       from when it was wished until its first kernel began, and until all of it was done
//   limiter_compute_process observe WARM_UP_MS EVERY_MS COUNT TURNS_FILE SLICE_FILES SHARES...
//       gives each line of the GPU's table its shares, REQUEST:LIMIT:WEIGHT:PRIORITY; then, COUNT +
//       1 times, looks for the dead as the broker does and prints "at NS LEDGERS MACHINE", bytes in
//       the slices' books and on the GPU, and what the GPU did for each process so far, "PID=NS"
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "abi/cuda.h"
#include "limiter/policy/memory_ledger.h"
#include "limiter/slice_file.h"
#include "sim/clock/virtual_clock.h"
#include "sim/cuda/shared_gpu.h"
#include "sim/gpu_time/programs.h"
#include "sim/machine/machine.h"

namespace tranche::limiter_compute {
namespace {

constexpr int64_t kMs = 1'000'000;

int64_t Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

void SleepUntil(int64_t at) {
  const timespec t = {static_cast<time_t>(at / 1'000'000'000),
                      static_cast<long>(at % 1'000'000'000)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
}

void* Find(const char* name) {
  static void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  void* found = driver == nullptr ? nullptr : dlsym(driver, name);
  if (found != nullptr) return found;
  std::fprintf(stderr, "no %s: %s\n", name, driver == nullptr ? dlerror() : "the driver lacks it");
  std::exit(2);
}
#define DRIVER(name)                                                          \
  ([] {                                                                       \
    static const auto found = reinterpret_cast<decltype(&name)>(Find(#name)); \
    return found;                                                             \
  }())

void Need(CUresult answer, const char* what) {
  if (answer == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s: %d\n", what, static_cast<int>(answer));
  std::exit(1);
}

class Tenant {
 public:
  Tenant(sim::Program program, uint32_t seed) : program_(std::move(program)), random_(seed) {
    Need(DRIVER(cuInit)(0), "cuInit");
    Need(DRIVER(cuDevicePrimaryCtxRetain)(&context_, 0), "context");
    Need(DRIVER(cuCtxSetCurrent)(context_), "current");
    uint32_t keys = 0, streams = 0;
    for (const sim::Op& op : program_.script) {
      keys = std::max(keys, op.key + 1);
      streams = std::max(streams, op.stream + 1);
    }
    std::string image = "tranche-kernels 1\n";
    for (uint32_t i = 0; i < keys; ++i) image += "kernel k" + std::to_string(i) + " argument\n";
    CUmodule code = nullptr;
    Need(DRIVER(cuModuleLoadData)(&code, image.c_str()), "module");
    // Until all have come so far the clock stands still.
    begin_ = Now();
    for (uint32_t i = 0; i < keys; ++i) {
      kernels_.emplace_back();
      Need(DRIVER(cuModuleGetFunction)(&kernels_.back(), code, ("k" + std::to_string(i)).c_str()),
           "function");
    }
    for (uint32_t i = 0; i < streams; ++i) {
      streams_.emplace_back();
      Need(DRIVER(cuStreamCreate)(&streams_.back(), CU_STREAM_NON_BLOCKING), "stream");
    }
    // Something for the books.
    CUdeviceptr memory = 0;
    Need(DRIVER(cuMemAlloc_v2)(&memory, 32 << 20), "memory");
    for (CUevent* event : {&base_, &first_})
      Need(DRIVER(cuEventCreate)(event, CU_EVENT_DEFAULT), "event");
    Need(DRIVER(cuEventRecord)(base_, streams_[0]), "record");
    Need(DRIVER(cuEventSynchronize)(base_), "wait");
    // From when it was done until the wait is over (sim/cuda/timeline.h).
    base_at_ = Now() - 5000;
  }

  void Run(int64_t ns) {
    for (size_t next = 0; Now() < begin_ + ns; next = (next + 1) % program_.script.size())
      Do(program_.script[next]);
  }

  // At the end: whoever reads it is in no hurry.
  void Tell() const {
    for (const auto& [start, end] : requests_)
      std::printf("request %" PRId64 " %" PRId64 "\n", start, end);
  }

 private:
  int64_t Duration(const sim::Op& op) {
    std::normal_distribution<double> normal;
    const double z = normal(random_);
    const bool wide = op.spread == sim::Spread::kLognormal;
    const double factor = wide ? std::exp(z - 0.5) : 1 + 0.03 * z;
    return std::max<int64_t>(100, std::llround(static_cast<double>(op.duration) * factor));
  }

  void Launch(const sim::Op& op, uint64_t ns) {
    void* arguments[] = {&ns};
    Need(DRIVER(cuLaunchKernel)(kernels_[op.key], op.blocks, 1, 1, 128, 1, 1, 0,
                                streams_[op.stream], arguments, nullptr),
         "launch");
  }

  CUgraphExec GraphOf(const sim::Op& op) {
    CUgraphExec& exec = graphs_[op.duration];
    if (exec != nullptr) return exec;
    // Ten kernels, one after the other.
    CUgraph graph = nullptr;
    Need(DRIVER(cuStreamBeginCapture_v2)(streams_[0], CU_STREAM_CAPTURE_MODE_GLOBAL), "capture");
    for (int i = 0; i < 10; ++i) Launch(op, static_cast<uint64_t>(op.duration) / 10);
    Need(DRIVER(cuStreamEndCapture)(streams_[0], &graph), "captured");
    Need(DRIVER(cuGraphInstantiateWithFlags)(&exec, graph, 0), "instantiate");
    return exec;
  }

  void Do(const sim::Op& op) {
    switch (op.act) {
      case sim::Act::kLaunch: {
        const int64_t takes = Duration(op);
        if (op.request && wished_at_ < 0) wished_at_ = Now();
        if (op.graph) {
          Need(DRIVER(cuGraphLaunch)(GraphOf(op), streams_[op.stream]), "graph");
        } else {
          Launch(op, static_cast<uint64_t>(takes));
        }
        if (op.request) {
          Need(DRIVER(cuEventRecord)(first_, streams_[op.stream]), "record");
          first_takes_ = takes;
        }
        break;
      }
      case sim::Act::kCopy:
        Copy(op);
        break;
      case sim::Act::kSync:
        Need(DRIVER(cuCtxSynchronize)(), "wait");
        if (wished_at_ >= 0) Served();
        break;
      case sim::Act::kCpu:
        SleepUntil(Now() + Duration(op));
        break;
      case sim::Act::kIdle: {
        std::exponential_distribution<double> wait(1.0 / static_cast<double>(op.duration));
        SleepUntil(Now() + std::llround(wait(random_)));
        break;
      }
      case sim::Act::kArrival:
        if (arrival_ == 0) arrival_ = Now();
        arrival_ += op.duration;
        wished_at_ = arrival_;
        SleepUntil(arrival_);
        break;
    }
  }

  // As many bytes as a copy of that length has.
  void Copy(const sim::Op& op) {
    const auto bytes = static_cast<size_t>(static_cast<double>(op.duration) * kCopyBytesPerNs);
    if (device_memory_ == 0) {
      host_memory_.resize(bytes);
      Need(DRIVER(cuMemAlloc_v2)(&device_memory_, bytes), "memory");
    }
    Need(DRIVER(cuMemcpyHtoDAsync_v2)(device_memory_, host_memory_.data(), bytes,
                                      streams_[op.stream]),
         "copy");
  }

  void Served() {
    float until_first = 0;
    Need(DRIVER(cuEventElapsedTime)(&until_first, base_, first_), "elapsed");
    const int64_t began =
        base_at_ + std::llround(static_cast<double>(until_first) * 1e6) - first_takes_;
    requests_.emplace_back(began - wished_at_, Now() - wished_at_);
    wished_at_ = -1;
  }

  // Of memory that is not pinned (sim/cuda/README.md).
  static constexpr double kCopyBytesPerNs = 10;

  const sim::Program program_;
  std::mt19937_64 random_;
  CUcontext context_ = nullptr;
  std::vector<CUfunction> kernels_;
  std::vector<CUstream> streams_;
  std::map<int64_t, CUgraphExec> graphs_;
  std::vector<char> host_memory_;
  CUdeviceptr device_memory_ = 0;
  CUevent base_ = nullptr, first_ = nullptr;
  int64_t begin_ = 0, base_at_ = 0, first_takes_ = 0;
  int64_t wished_at_ = -1, arrival_ = 0;
  std::vector<std::pair<int64_t, int64_t>> requests_;
};

int RunTenant(const std::string& shape, uint32_t seed, int64_t ns) {
  // "rare": "infer" after pauses in which others launch far ahead.
  std::optional<sim::Program> program = sim::Shape(shape == "rare" ? "infer" : shape);
  if (!program) return 64;
  if (shape == "rare") program->script[0].duration = 400 * kMs;
  Tenant tenant(*std::move(program), seed);
  tenant.Run(ns);
  tenant.Tell();
  return 0;
}

TrancheSlice* Map(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  void* memory = MAP_FAILED;
  if (fd >= 0)
    memory = mmap(nullptr, TRANCHE_SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd >= 0) close(fd);
  return memory == MAP_FAILED ? nullptr : static_cast<TrancheSlice*>(memory);
}

// On this clock, or what a bucket has gained by the first launch would be another each time.
bool SetShares(const char* path, TrancheSlice* turns, const std::vector<std::string>& shares) {
  for (uint32_t i = 0; i < shares.size(); ++i) {
    uint32_t request = 0, limit = 0, weight = 0;
    int32_t priority = 0;
    if (std::sscanf(shares[i].c_str(), "%u:%u:%u:%d", &request, &limit, &weight, &priority) != 4 ||
        !limiter::SliceFile::SetShares(path, turns, 0, i, request, limit, weight, priority))
      return false;
  }
  return true;
}

int Observe(int64_t warm_up, int64_t every, int count, const char* turns_path,
            const std::string& slices_path, const std::vector<std::string>& shares) {
  const char* folder = std::getenv("TRANCHE_SIM_DIR");
  sim::VirtualClock* clock = folder == nullptr ? nullptr : sim::ClockOfProcess(folder);
  sim::cuda::SharedGpu* gpu =
      clock == nullptr ? nullptr : sim::cuda::SharedGpu::Get(folder, 0, 0, 1);
  auto machine = folder == nullptr ? sim::Machine::Open("") : sim::Machine::Open(folder);
  TrancheSlice* turns = Map(turns_path);
  if (gpu == nullptr || !machine || turns == nullptr) return 1;
  std::vector<std::pair<std::string, TrancheSlice*>> slices;
  for (size_t i = 0; i < shares.size(); ++i) {
    const std::string path = slices_path + std::to_string(i);
    slices.emplace_back(path, Map(path));
    if (slices.back().second == nullptr) return 1;
  }
  clock->Join();
  if (!SetShares(turns_path, turns, shares)) return 1;
  const int64_t begin = clock->Now();
  clock->Begin();
  for (int i = 0; i <= count; ++i) {
    clock->SleepUntil(begin + warm_up + i * every);
    uint64_t held = 0;
    for (const auto& [path, slice] : slices) {
      limiter::SliceFile::Reap(path.c_str(), slice);
      held += limiter::MemoryLedger(slice, 0).Used();
    }
    limiter::SliceFile::Reap(turns_path, turns);
    sim::MemoryInfo memory;
    (*machine)->GetMemory({0, 0}, &memory);
    std::printf("at %" PRId64 " %" PRIu64 " %" PRIu64, clock->Now() - begin, held, memory.used);
    for (const auto& [pid, served] : gpu->ServedByProcess()) std::printf(" %u=%.0f", pid, served);
    std::printf("\n");
    std::fflush(stdout);
  }
  return 0;
}

int Main(int argc, char** argv) {
  const auto number = [&](int i) { return std::strtoll(argv[i], nullptr, 10); };
  const std::string what = argc >= 5 ? argv[1] : "";
  if (what == "tenant")
    return RunTenant(argv[2], static_cast<uint32_t>(number(3)), number(4) * kMs);
  if (what == "observe" && argc >= 7)
    return Observe(number(2) * kMs, number(3) * kMs, static_cast<int>(number(4)), argv[5], argv[6],
                   {argv + 7, argv + argc});
  std::fprintf(stderr, "usage: limiter_compute_process tenant|observe ...\n");
  return 64;
}

}  // namespace
}  // namespace tranche::limiter_compute

int main(int argc, char** argv) { return tranche::limiter_compute::Main(argc, argv); }
