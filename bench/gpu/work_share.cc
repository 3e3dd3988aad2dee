#include <deque>
#include <optional>

#include "work.h"

namespace tranche::gpu_check {
namespace {

constexpr int64_t kMillisecond = 1000000;
// What a program that never waits keeps on its stream.
constexpr int64_t kAhead = 40 * kMillisecond;

CUgraphExec MakeGraph(const Gpu& gpu, Spin& spin, int kernels) {
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  CU(cuStreamBeginCapture_v2, gpu.stream, CU_STREAM_CAPTURE_MODE_RELAXED);
  for (int i = 0; i < kernels; ++i) spin.Launch(gpu.stream);
  CU(cuStreamEndCapture, gpu.stream, &graph);
  CU(cuGraphInstantiateWithFlags, &exec, graph, 0);
  return exec;
}

// C = A * B of 2048 x 2048, by the library that GPU_CHECK_CUBLAS names; declared here, since its
// headers may not be there.
class Gemm {
 public:
  explicit Gemm(const Gpu& gpu) {
    const char* path = std::getenv("GPU_CHECK_CUBLAS");
    void* library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW);
    if (library == nullptr) Give("no cuBLAS");
    const auto create = reinterpret_cast<int (*)(void**)>(dlsym(library, "cublasCreate_v2"));
    const auto use =
        reinterpret_cast<int (*)(void*, CUstream)>(dlsym(library, "cublasSetStream_v2"));
    multiply_ = reinterpret_cast<Multiply>(dlsym(library, "cublasSgemm_v2"));
    if (create == nullptr || use == nullptr || multiply_ == nullptr || create(&handle_) != 0 ||
        use(handle_, gpu.stream) != 0)
      Give("cuBLAS does not begin");
    for (CUdeviceptr& matrix : matrices_) matrix = gpu.Memory(sizeof(float) * kSide * kSide);
  }
  void Launch() const {
    const float one = 1, zero = 0;
    const int answer = multiply_(handle_, 0, 0, kSide, kSide, kSide, &one, matrices_[0], kSide,
                                 matrices_[1], kSide, &zero, matrices_[2], kSide);
    if (answer != 0) Give("cublasSgemm_v2 answers " + std::to_string(answer));
  }

 private:
  using Multiply = int (*)(void*, int, int, int, int, int, const float*, CUdeviceptr, int,
                           CUdeviceptr, int, const float*, CUdeviceptr, int);
  static constexpr int kSide = 2048;
  void* handle_ = nullptr;
  Multiply multiply_ = nullptr;
  CUdeviceptr matrices_[3] = {};
};

struct Batch {
  CUevent end;
  int64_t units;
};

}  // namespace

int Share(const Options& options) {
  const Gpu gpu;
  Spin spin;
  spin.kernel = gpu.Kernel("spin");
  spin.blocks = static_cast<unsigned>(options.Int("blocks", 0));
  if (spin.blocks == 0) spin.blocks = static_cast<unsigned>(gpu.multiprocessors);
  spin.nominal = static_cast<uint64_t>(options.Int("nominal", kMillisecond));
  spin.iterations = static_cast<uint64_t>(options.Int("iterations", 0));
  std::optional<Gemm> gemm;
  if (options.Int("cublas", 0) != 0) {
    gemm.emplace(gpu);
    gemm->Launch();
    gpu.Wait();
    spin.iterations = 1;
  }
  if (spin.iterations == 0) Say("unit_ns", spin.Calibrate(gpu));
  Say("iterations_each", static_cast<double>(spin.iterations));
  Say("blocks", spin.blocks);
  spin.counters = gpu.Memory(32);
  const bool sync = options.Int("sync", 0) != 0;
  const int in_graph = static_cast<int>(options.Int("graph", 0));
  const auto window = static_cast<int64_t>(options.Get("seconds", 1) * 1e9);
  const int64_t begin = options.Int("begin", Now() + 100 * kMillisecond), end = begin + window;
  const int64_t offset = options.Int("offset", 0);
  spin.from = static_cast<uint64_t>(begin + offset);
  spin.to = static_cast<uint64_t>(end + offset);
  const int64_t active = options.Int("active_ms", 0) * kMillisecond;
  const int64_t idle = options.Int("idle_ms", 0) * kMillisecond;
  const int64_t phase = options.Int("phase_ms", 0) * kMillisecond;
  const int64_t unit = static_cast<int64_t>(spin.nominal) * std::max(1, in_graph);
  const int64_t in_batch = std::max<int64_t>(1, kAhead / 40 / unit);
  const size_t most_batches = static_cast<size_t>(std::max<int64_t>(2, kAhead / unit / in_batch));
  // From pinned memory, ahead of each batch, as a loader of data does.
  const size_t copied = static_cast<size_t>(options.Int("copy_mib", 0)) << 20;
  void* from_host = nullptr;
  CUdeviceptr to_gpu = 0;
  if (copied > 0) {
    CU(cuMemHostAlloc, &from_host, copied, 0);
    to_gpu = gpu.Memory(copied);
  }
  const CUgraphExec graph = in_graph > 0 ? MakeGraph(gpu, spin, in_graph) : nullptr;
  if (Now() > begin) Give("it took too long to begin");

  // When a batch was done is told by its event, whenever it is looked at.
  CUevent base = nullptr;
  CU(cuEventCreate, &base, CU_EVENT_DEFAULT);
  CU(cuEventRecord, base, gpu.stream);
  gpu.Wait();
  const int64_t base_at = Now();
  std::deque<Batch> queue;
  std::vector<CUevent> spare;
  int64_t units = 0;
  const auto finish = [&] {
    CU(cuEventSynchronize, queue.front().end);
    float milliseconds = 0;
    CU(cuEventElapsedTime, &milliseconds, base, queue.front().end);
    const int64_t done = base_at + static_cast<int64_t>(static_cast<double>(milliseconds) * 1e6);
    if (done >= begin && done < end) units += queue.front().units;
    spare.push_back(queue.front().end);
    queue.pop_front();
  };
  // From before the window to after it, so that within it everybody is at work.
  SleepUntil(begin - 50 * kMillisecond);
  while (Now() < end + 20 * kMillisecond) {
    if (active > 0 && (Now() - begin + phase + active + idle) % (active + idle) >= active) {
      while (!queue.empty()) finish();
      SleepUntil(Now() + kMillisecond);
      continue;
    }
    const int64_t launches = sync ? 1 : in_batch;
    if (copied > 0) CU(cuMemcpyHtoDAsync_v2, to_gpu, from_host, copied, gpu.stream);
    for (int64_t i = 0; i < launches; ++i) {
      if (gemm) {
        gemm->Launch();
      } else if (graph == nullptr) {
        spin.Launch(gpu.stream);
      } else {
        CU(cuGraphLaunch, graph, gpu.stream);
      }
    }
    if (sync) {
      gpu.Wait();
      const int64_t now = Now();
      units += now >= begin && now < end;
      continue;
    }
    CUevent event = nullptr;
    if (spare.empty()) {
      CU(cuEventCreate, &event, CU_EVENT_DEFAULT);
    } else {
      event = spare.back();
      spare.pop_back();
    }
    CU(cuEventRecord, event, gpu.stream);
    queue.push_back({event, launches});
    if (queue.size() > most_batches) finish();
  }
  while (!queue.empty()) finish();
  gpu.Wait();
  const std::vector<uint64_t> counters = gpu.Read(spin.counters, 2);
  const double seconds = static_cast<double>(window) / 1e9;
  Say("busy_ns_per_s", static_cast<double>(counters[0]) / seconds);
  Say("iterations_per_s", static_cast<double>(counters[1]) / seconds);
  Say("units_per_s", static_cast<double>(units) / seconds);
  // Of a simulated GPU, which counts nothing itself: by what it says a unit takes.
  Say("share_by_units", static_cast<double>(units * unit) / static_cast<double>(window));
  return 0;
}

int Probe(const Options& options) {
  const Gpu gpu;
  Spin spin;
  spin.kernel = gpu.Kernel("spin");
  spin.blocks = static_cast<unsigned>(gpu.multiprocessors);
  spin.nominal = static_cast<uint64_t>(options.Int("nominal", 20000));
  spin.counters = gpu.Memory(32);
  const int64_t every = options.Int("every_us", 1000) * 1000;
  const auto window = static_cast<int64_t>(options.Get("seconds", 1) * 1e9);
  // Not calibrated among others: about 200 ns a round is near enough for a latency.
  spin.iterations = std::max<uint64_t>(1, spin.nominal / 200);
  for (int i = 0; i < 20; ++i) {
    spin.Launch(gpu.stream);
    gpu.Wait();
  }
  const int64_t begin = options.Int("begin", Now() + 100 * kMillisecond);
  if (Now() > begin) Give("it took too long to begin");
  std::vector<double> latencies;
  int64_t due = begin;
  while (due < begin + window) {
    SleepUntil(due);
    const int64_t since = Now();
    spin.Launch(gpu.stream);
    gpu.Wait();
    latencies.push_back(static_cast<double>(Now() - since));
    due = std::max(due + every, Now());
  }
  Say("served_per_s", static_cast<double>(latencies.size()) / (static_cast<double>(window) / 1e9));
  Say("p50_ns", Quantile(latencies, 0.5));
  Say("p99_ns", Quantile(latencies, 0.99));
  Say("largest_ns", Quantile(latencies, 1));
  return 0;
}

int Storm(const Options& options) {
  const Gpu gpu;
  Spin spin;
  spin.kernel = gpu.Kernel("spin");
  spin.nominal = 100000;
  spin.iterations = 500;
  uint64_t random = static_cast<uint64_t>(options.Int("seed", 1)) * 0x9e3779b97f4a7c15u + 1;
  std::vector<CUdeviceptr> live;
  const auto alloc = Find<decltype(::cuMemAlloc_v2)>("cuMemAlloc_v2");
  for (;;) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    const uint64_t what = random >> 33;
    CUdeviceptr memory = 0;
    if (what % 3 != 0 && live.size() < 32) {
      const size_t bytes = (1 + what % 64) << 20;
      const CUresult answer = alloc(&memory, bytes);
      if (answer == CUDA_SUCCESS)
        live.push_back(memory);
      else if (answer != CUDA_ERROR_OUT_OF_MEMORY)
        Need(answer, "cuMemAlloc_v2");
    } else if (!live.empty()) {
      CU(cuMemFree_v2, live.back());
      live.pop_back();
    }
    spin.Launch(gpu.stream);
    if (what % 7 == 0) gpu.Wait();
  }
}

}  // namespace tranche::gpu_check
