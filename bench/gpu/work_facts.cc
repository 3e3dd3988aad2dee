#include <cmath>

#include "work.h"

namespace tranche::gpu_check {
namespace {

// The median of `rounds`, of ns per one of `count`.
template <typename Body>
double NsEach(int rounds, int count, const Body& body) {
  std::vector<double> values;
  for (int round = 0; round < rounds; ++round) {
    const int64_t begin = Now();
    for (int i = 0; i < count; ++i) body();
    values.push_back(static_cast<double>(Now() - begin) / count);
  }
  return Quantile(values, 0.5);
}

struct Events {
  CUevent begin = nullptr, end = nullptr;
  Events() {
    CU(cuEventCreate, &begin, CU_EVENT_DEFAULT);
    CU(cuEventCreate, &end, CU_EVENT_DEFAULT);
  }
  double Ns() const {
    float milliseconds = 0;
    CU(cuEventElapsedTime, &milliseconds, begin, end);
    return static_cast<double>(milliseconds) * 1e6;
  }
};

void LaunchEmpty(const Gpu& gpu, CUfunction empty) {
  static uint64_t nominal = 0;
  static void* arguments[] = {&nominal};
  CU(cuLaunchKernel, empty, 1, 1, 1, 1, 1, 1, 0, gpu.stream, arguments, nullptr);
}

CUcontext MakeContext() {
  CUdevice device = 0;
  CUcontext context = nullptr;
  CU(cuInit, 0);
  CU(cuDeviceGet, &device, 0);
  CU(cuDevicePrimaryCtxRetain, &context, device);
  CU(cuCtxSetCurrent, context);
  return context;
}

// The driver lets so many launches wait on a stream; beyond it a launch waits for the GPU.
constexpr int kQueue = 500;

// ns per launch while nothing waits.
template <typename Body>
double NsOfLaunch(const Gpu& gpu, const Body& body) {
  std::vector<double> values;
  for (int round = 0; round < 21; ++round) {
    const int64_t begin = Now();
    for (int i = 0; i < kQueue; ++i) body();
    values.push_back(static_cast<double>(Now() - begin) / kQueue);
    gpu.Wait();
  }
  return Quantile(values, 0.5);
}

}  // namespace

int Overhead(const Options& options) {
  const Gpu gpu;
  const CUfunction empty = gpu.Kernel("empty");
  LaunchEmpty(gpu, empty);
  gpu.Wait();
  Say("launch_ns", NsOfLaunch(gpu, [&] { LaunchEmpty(gpu, empty); }));
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  CU(cuStreamBeginCapture_v2, gpu.stream, CU_STREAM_CAPTURE_MODE_RELAXED);
  LaunchEmpty(gpu, empty);
  CU(cuStreamEndCapture, gpu.stream, &graph);
  CU(cuGraphInstantiateWithFlags, &exec, graph, 0);
  Say("graph_launch_ns", NsOfLaunch(gpu, [&] { CU(cuGraphLaunch, exec, gpu.stream); }));
  for (const int live : {10, 1000}) {
    std::vector<CUdeviceptr> held(static_cast<size_t>(live));
    for (CUdeviceptr& pointer : held) CU(cuMemAlloc_v2, &pointer, 4096);
    const double each = NsEach(7, static_cast<int>(options.Int("count", 300)), [&] {
      CUdeviceptr pointer = 0;
      CU(cuMemAlloc_v2, &pointer, 4096);
      CU(cuMemFree_v2, pointer);
    });
    Say(live == 10 ? "alloc_free_10_live_ns" : "alloc_free_1000_live_ns", each);
    for (const CUdeviceptr pointer : held) CU(cuMemFree_v2, pointer);
  }
  Say("alloc_free_async_ns", NsEach(7, 300, [&] {
        CUdeviceptr pointer = 0;
        CU(cuMemAllocAsync, &pointer, size_t{1} << 20, gpu.stream);
        CU(cuMemFreeAsync, pointer, gpu.stream);
        gpu.Wait();
      }));
  return 0;
}

int Facts(const Options&) {
  const Gpu gpu;
  const CUfunction empty = gpu.Kernel("empty");
  const auto round_trip = [&] {
    LaunchEmpty(gpu, empty);
    gpu.Wait();
  };
  round_trip();
  Say("empty_kernel_round_trip_ns", NsEach(9, 200, round_trip));
  const Events events;
  Say("event_record_and_seen_ns", NsEach(9, 200, [&] {
        CU(cuEventRecord, events.end, gpu.stream);
        const auto query = Find<decltype(::cuEventQuery)>("cuEventQuery");
        while (query(events.end) == CUDA_ERROR_NOT_READY) {
        }
      }));
  const double bare = NsOfLaunch(gpu, [&] { LaunchEmpty(gpu, empty); });
  Say("launch_ns", bare);
  Say("launch_and_event_ns", NsOfLaunch(gpu, [&] {
        LaunchEmpty(gpu, empty);
        CU(cuEventRecord, events.end, gpu.stream);
      }));
  const auto write = FindOrNull<decltype(::cuStreamWriteValue64_v2)>("cuStreamWriteValue64_v2");
  const CUdeviceptr word = gpu.Memory(64);
  if (write != nullptr && write(gpu.stream, word, 1, 0) == CUDA_SUCCESS)
    Say("launch_and_written_value_ns", NsOfLaunch(gpu, [&] {
          LaunchEmpty(gpu, empty);
          Need(write(gpu.stream, word, 1, 0), "cuStreamWriteValue64_v2");
        }));
  std::vector<double> after_idle;
  for (int i = 0; i < 20; ++i) {
    SleepUntil(Now() + 10000000);
    const int64_t begin = Now();
    round_trip();
    after_idle.push_back(static_cast<double>(Now() - begin));
  }
  Say("round_trip_after_10_ms_idle_ns", Quantile(after_idle, 0.5));

  // What events say of one kernel, against what it counted itself.
  Spin spin;
  spin.kernel = gpu.Kernel("spin");
  spin.blocks = 1;
  spin.nominal = 1000000;
  spin.counters = gpu.Memory(32);
  spin.to = UINT64_MAX;
  Say("kernel_ns", spin.Calibrate(gpu));
  std::vector<double> by_events, difference;
  for (int i = 0; i < 200; ++i) {
    const uint64_t before = gpu.Read(spin.counters, 1)[0];
    CU(cuEventRecord, events.begin, gpu.stream);
    spin.Launch(gpu.stream);
    CU(cuEventRecord, events.end, gpu.stream);
    gpu.Wait();
    by_events.push_back(events.Ns());
    difference.push_back(by_events.back() -
                         static_cast<double>(gpu.Read(spin.counters, 1)[0] - before));
  }
  double mean = 0, square = 0;
  for (const double value : by_events) mean += value / 200;
  for (const double value : by_events) square += (value - mean) * (value - mean) / 200;
  Say("kernel_variation_percent", 100 * std::sqrt(square) / mean);
  if (!gpu.simulated) {
    Say("events_minus_kernels_own_time_p50_ns", Quantile(difference, 0.5));
    Say("events_minus_kernels_own_time_p99_ns", Quantile(difference, 0.99));
  }
  // How much longer two graphs take than twice one: what it costs to begin the second.
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  CU(cuStreamBeginCapture_v2, gpu.stream, CU_STREAM_CAPTURE_MODE_RELAXED);
  spin.Launch(gpu.stream);
  CU(cuStreamEndCapture, gpu.stream, &graph);
  CU(cuGraphInstantiateWithFlags, &exec, graph, 0);
  const auto graphs = [&](int count) {
    std::vector<double> values;
    for (int round = 0; round < 9; ++round) {
      CU(cuEventRecord, events.begin, gpu.stream);
      for (int i = 0; i < count; ++i) CU(cuGraphLaunch, exec, gpu.stream);
      CU(cuEventRecord, events.end, gpu.stream);
      gpu.Wait();
      values.push_back(events.Ns());
    }
    return Quantile(values, 0.5);
  };
  graphs(1);
  Say("between_graphs_ns", (graphs(11) - graphs(1)) / 10 - Quantile(by_events, 0.5));
  return 0;
}

int Slices(const Options& options) {
  const Gpu gpu;
  constexpr uint64_t kMost = 20000;
  const CUfunction watch = gpu.Kernel("watch");
  const CUdeviceptr memory = gpu.Memory((2 * kMost + 1) * sizeof(uint64_t));
  auto duration = static_cast<uint64_t>(options.Get("seconds", 1) * 1e9);
  uint64_t least = static_cast<uint64_t>(options.Int("least", 10000)), most = kMost;
  CUdeviceptr where = memory;
  void* arguments[] = {&duration, &duration, &least, &where, &most};
  SleepUntil(options.Int("begin", Now()));
  CU(cuLaunchKernel, watch, 1, 1, 1, 1, 1, 1, 0, gpu.stream, arguments, nullptr);
  gpu.Wait();
  if (gpu.simulated) Give("kernels do nothing on a simulated GPU, so no clock was read");
  const std::vector<uint64_t> read = gpu.Read(memory, 2 * kMost + 1);
  std::vector<double> runs, gaps;
  for (uint64_t i = 0; i < read[0] && i < kMost; ++i) {
    gaps.push_back(static_cast<double>(read[2 + 2 * i] - read[1 + 2 * i]));
    if (i > 0) runs.push_back(static_cast<double>(read[1 + 2 * i] - read[2 * i]));
  }
  Say("gaps", static_cast<double>(gaps.size()));
  Say("gap_p10_ns", Quantile(gaps, 0.1));
  Say("gap_p50_ns", Quantile(gaps, 0.5));
  Say("gap_p90_ns", Quantile(gaps, 0.9));
  Say("run_p10_ns", Quantile(runs, 0.1));
  Say("run_p50_ns", Quantile(runs, 0.5));
  Say("run_p90_ns", Quantile(runs, 0.9));
  return 0;
}

int Hold(const Options&) {
  const CUcontext context = MakeContext();
  Say("held", context != nullptr);
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
  return 0;
}

int Used(const Options&) {
  MakeContext();
  size_t free = 0, total = 0;
  CU(cuMemGetInfo_v2, &free, &total);
  Say("used_bytes", static_cast<double>(total - free));
  Say("total_bytes", static_cast<double>(total));
  return 0;
}

int Clock(const Options&) {
  const Gpu gpu;
  gpu.GlobalTimer();
  int64_t best = INT64_MAX, offset = 0;
  for (int i = 0; i < 200; ++i) {
    const int64_t before = Now();
    const int64_t there = gpu.GlobalTimer();
    const int64_t after = Now();
    if (after - before >= best) continue;
    best = after - before;
    offset = there - (before + after) / 2;
  }
  if (gpu.simulated) offset = 0;
  Say("offset_ns", static_cast<double>(offset));
  Say("uncertain_ns", static_cast<double>(best) / 2);
  return 0;
}

int Device(const Options&) {
  const Gpu gpu;
  int version = 0, major = 0, minor = 0, clock = 0;
  size_t bytes = 0;
  char name[256] = {};
  CUuuid uuid;
  CU(cuDriverGetVersion, &version);
  CU(cuDeviceGetName, name, sizeof(name), gpu.device);
  CU(cuDeviceTotalMem_v2, &bytes, gpu.device);
  CU(cuDeviceGetUuid_v2, &uuid, gpu.device);
  CU(cuDeviceGetAttribute, &major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, gpu.device);
  CU(cuDeviceGetAttribute, &minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, gpu.device);
  CU(cuDeviceGetAttribute, &clock, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, gpu.device);
  Say("simulated", gpu.simulated);
  Say("cuda_version", version);
  Say("multiprocessors", gpu.multiprocessors);
  Say("memory_bytes", static_cast<double>(bytes));
  Say("compute_capability", major + minor / 10.0);
  Say("clock_khz", clock);
  std::printf("name= %s\nuuid= ", name);
  for (const char byte : uuid.bytes) std::printf("%02x", static_cast<unsigned char>(byte));
  std::printf("\n");
  return 0;
}

int KernelName(const Options&) {
  const Gpu gpu;
  const auto function_name = FindOrNull<decltype(::cuFuncGetName)>("cuFuncGetName");
  if (function_name == nullptr) Give("this driver has no cuFuncGetName");
  const char* name = nullptr;
  Say("of_a_function", function_name(&name, gpu.Kernel("empty")));
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
  CU(cuLibraryLoadData, &library, gpu.code(), nullptr, nullptr, 0, nullptr, nullptr, 0);
  CU(cuLibraryGetKernel, &kernel, library, "empty");
  std::fflush(stdout);
  Say("of_a_kernel", function_name(&name, reinterpret_cast<CUfunction>(kernel)));
  return 0;
}

int Start(const Options&) {
  CUdevice device = 0;
  CUcontext context = nullptr;
  const int64_t begin = Now();
  CU(cuInit, 0);
  CU(cuDeviceGet, &device, 0);
  const int64_t initialised = Now();
  CU(cuDevicePrimaryCtxRetain, &context, device);
  Say("init_ns", static_cast<double>(initialised - begin));
  Say("context_ns", static_cast<double>(Now() - initialised));
  return 0;
}

}  // namespace tranche::gpu_check
