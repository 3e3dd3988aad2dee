#include "check.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// The steps of scripts/gpu-check, one after the other, each with its own limit of time; what fails
// is written down with its reason, and the rest goes on.
//
//   gpu_check OUT.json --programs DIR --limiter DIR --scripts DIR [--rival LIBRARY]
//             [--cublas LIBRARY] [--seconds N] [--fast] [--only STEP]
namespace tranche::gpu_check {

std::vector<std::string> Check::Environment(const std::string& mode, const Slices* slices,
                                            size_t tenant, const Shares& shares) const {
  if (mode == "limiter" && slices != nullptr) {
    const char* folders = std::getenv("LD_LIBRARY_PATH");
    const std::string rest = folders == nullptr || *folders == 0 ? "" : ":" + std::string(folders);
    return {"LD_LIBRARY_PATH=" + limiter + rest, "TRANCHE_REAL_LIBCUDA=" + real,
            "TRANCHE_SLICE_FILE=" + slices->path(tenant)};
  }
  if (mode != "rival") return {};
  // As HAMi-core reads it, and what came after it. Each tenant is a container of its own to it.
  static int containers = 0;
  std::vector<std::string> all = {
      "LD_PRELOAD=" + rival,
      "CUDA_DEVICE_MEMORY_SHARED_CACHE=" + work + "/rival" + std::to_string(++containers)};
  if (shares.memory_bytes != TRANCHE_UNLIMITED)
    all.push_back("CUDA_DEVICE_MEMORY_LIMIT=" + std::to_string(shares.memory_bytes >> 20) + "m");
  if (shares.request != 0)
    all.push_back("CUDA_DEVICE_SM_LIMIT=" + std::to_string(shares.request / 10000));
  return all;
}

std::vector<std::string> Check::GpuWork(const std::string& command,
                                        const std::vector<std::string>& options) const {
  std::vector<std::string> argv = {programs + "/gpu_work", command};
  argv.insert(argv.end(), options.begin(), options.end());
  return argv;
}

Outcome Check::Run(const std::vector<std::string>& argv,
                   const std::vector<std::string>& environment, double seconds) const {
  return Process(argv, environment, work).Wait(Until(seconds));
}

int64_t Check::Until(double seconds) const {
  constexpr int64_t kGrace = 15 * kSecond;
  const int64_t wished = Now() + static_cast<int64_t>(seconds * 1e9);
  return std::max(std::min(wished, deadline + kGrace), Now() + kSecond / 2);
}

double Check::UsedByAll() const {
  // The lesser of two looks: what has just ended may not be gone at the first.
  double least = -1;
  for (int i = 0; i < 2; ++i) {
    const Outcome used = Run(GpuWork("used", {}), {}, 30);
    if (!used.ok()) return -1;
    if (least < 0 || used.Number("used_bytes") < least) least = used.Number("used_bytes");
  }
  return least;
}

std::unique_ptr<Slices> Check::MakeSlices(const std::vector<Shares>& tenants) const {
  return std::make_unique<Slices>(work, uuid, context_bytes, tenants);
}

std::vector<std::string> Check::Modes() const {
  std::vector<std::string> modes = {"none", "limiter"};
  if (!rival.empty()) modes.push_back("rival");
  return modes;
}

void DescribeGpu(Check& check, Step& step) {
  const Outcome device = check.Run(check.GpuWork("device", {}), {}, 60);
  if (!device.ok()) {
    step.status = "failed";
    step.reason = device.Reason();
    return;
  }
  if (device.texts.count("uuid") == 0) {
    step.status = "failed";
    step.reason = "the GPU does not tell its UUID";
    return;
  }
  check.uuid = device.texts.at("uuid");
  check.name = device.texts.count("name") == 0 ? "" : device.texts.at("name");
  check.simulated = device.Number("simulated") != 0;
  if (check.simulated) setenv("GPU_CHECK_SIMULATED", "1", 1);
  check.multiprocessors = device.Number("multiprocessors");
  check.memory_bytes = static_cast<uint64_t>(device.Number("memory_bytes"));
  step.values = {{"multiprocessors", "", "", check.multiprocessors, ""},
                 {"memory", "", "", device.Number("memory_bytes"), "bytes"},
                 {"compute_capability", "", "", device.Number("compute_capability"), ""},
                 {"cuda_version_of_driver", "", "", device.Number("cuda_version"), ""},
                 {"clock", "", "", device.Number("clock_khz"), "kHz"}};
  const Outcome clock = check.Run(check.GpuWork("clock", {}), {}, 60);
  if (!clock.ok()) {
    step.reason = "the GPU's clock cannot be read: " + clock.Reason();
    return;
  }
  check.clock_offset = clock.Number("offset_ns");
  step.values.push_back(
      {"clock_read_from_host_uncertain_by", "", "", clock.Number("uncertain_ns"), "ns"});
  // What a context costs: of one process more, as another sees it.
  const double before = check.UsedByAll();
  Process holder(check.GpuWork("hold", {}), {}, check.work);
  const int64_t until = check.Until(20);
  while (holder.Running() && holder.Said().empty() && Now() < until) usleep(10000);
  const double during = check.UsedByAll();
  holder.Wait(check.Until(10));
  const double context = during - before;
  if (before < 0 || context <= 0) {
    step.reason = "what a context costs cannot be seen";
    return;
  }
  check.context_bytes = static_cast<uint64_t>(context);
  step.values.push_back({"memory_of_a_context", "", "", context, "bytes"});
}

namespace {

std::string RealLibcuda() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) return "";
  link_map* map = nullptr;
  if (dlinfo(library, RTLD_DI_LINKMAP, &map) != 0 || map == nullptr) return "";
  char* resolved = realpath(map->l_name, nullptr);
  const std::string path = resolved == nullptr ? map->l_name : resolved;
  std::free(resolved);
  return path;
}

std::string Today() {
  char text[32] = {};
  const time_t now = time(nullptr);
  tm parts{};
  gmtime_r(&now, &parts);
  strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

int Main(int argc, char** argv) {
  Check check;
  double seconds = 440;
  std::string out, only;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto next = [&]() -> std::string { return i + 1 < argc ? argv[++i] : ""; };
    if (word == "--programs")
      check.programs = next();
    else if (word == "--limiter")
      check.limiter = next();
    else if (word == "--scripts")
      check.scripts = next();
    else if (word == "--rival")
      check.rival = next();
    else if (word == "--cublas")
      check.cublas = next();
    else if (word == "--seconds")
      seconds = std::atof(next().c_str());
    else if (word == "--only")
      only = next();
    else if (word == "--fast")
      check.fast = true;
    else if (word[0] != '-' && out.empty())
      out = word;
    else
      return std::fprintf(stderr, "gpu_check: what is %s?\n", word.c_str()), 64;
  }
  char pattern[] = "/tmp/gpu-check.XXXXXX";
  if (out.empty() || check.programs.empty() || check.limiter.empty() || mkdtemp(pattern) == nullptr)
    return 64;
  check.work = pattern;
  check.real = RealLibcuda();
  if (!check.cublas.empty()) setenv("GPU_CHECK_CUBLAS", check.cublas.c_str(), 1);
  check.deadline = Now() + static_cast<int64_t>(seconds * 1e9);

  Report report(out);
  report.Fact("date", Today());
  report.Fact("driver_library", check.real);
  const std::string kernel_module = ReadText("/proc/driver/nvidia/version");
  if (!kernel_module.empty())
    report.Fact("driver", kernel_module.substr(0, kernel_module.find('\n')));
  report.Fact("rival", check.rival.empty() ? "none named" : check.rival);
  if (!report.Write()) {
    std::fprintf(stderr, "gpu-check: cannot write %s\n", out.c_str());
    return 1;
  }

  bool found = true;
  const auto run = [&](const char* name, const std::function<void(Step&)>& body) {
    Step step{name, "done", "", 0, {}, ""};
    const int64_t begin = Now();
    if (!found) {
      step.status = "skipped";
      step.reason = "there is no GPU to ask";
    } else if (!only.empty() && only != name && std::strcmp(name, "device") != 0) {
      step.status = "skipped";
      step.reason = "only " + only + " was asked for";
    } else if (begin > check.deadline) {
      step.status = "skipped";
      step.reason = "the time was over";
    } else {
      body(step);
    }
    step.seconds = static_cast<double>(Now() - begin) / 1e9;
    report.Add(std::move(step));
  };
  run("device", [&](Step& step) {
    DescribeGpu(check, step);
    found = step.status != "failed";
  });
  report.Fact("gpu", check.name);
  report.Fact("simulated", check.simulated ? "yes: what follows tells nothing of a GPU" : "no");
  Compute compute(check);
  // The most telling first: what takes long or may be missing comes last.
  run("nvml", [&](Step& step) { CheckNvml(check, step); });
  run("facts", [&](Step& step) { CheckFacts(check, step); });
  run("time_slices", [&](Step& step) { CheckTimeSlices(check, step); });
  run("overhead", [&](Step& step) { CheckOverhead(check, step); });
  run("memory", [&](Step& step) { CheckMemory(check, step); });
  run("shares_30_70", [&](Step& step) { compute.SharedBy3070(step); });
  run("limits_alone", [&](Step& step) { compute.Capped(step); });
  run("torch", [&](Step& step) { CheckTorch(check, step); });
  run("latency", [&](Step& step) { compute.Latency(step); });
  run("kill_storm", [&](Step& step) { CheckKillStorm(check, step); });
  run("shares_10_90", [&](Step& step) { compute.SharedBy1090(step); });
  run("shares_3x33_with_pauses", [&](Step& step) { compute.ThreeWithPauses(step); });
  run("mps", [&](Step& step) { compute.UnderMps(step); });
  std::fprintf(stderr, "gpu-check: %d numbers are not what was wished; all are in %s\n",
               report.missed(), out.c_str());
  const std::string clean = "rm -rf '" + check.work + "'";
  [[maybe_unused]] const int cleaned = std::system(clean.c_str());
  return found ? 0 : 69;
}

}  // namespace
}  // namespace tranche::gpu_check

int main(int argc, char** argv) { return tranche::gpu_check::Main(argc, argv); }
