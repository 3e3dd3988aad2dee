#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "sim/machine/mig.h"
#include "sim/tool/commands.h"

namespace tranche::sim {

Result<Target> ParseTarget(Machine* machine, const std::string& text) {
  char* end = nullptr;
  unsigned long gpu = std::strtoul(text.c_str(), &end, 10);
  if (text.empty() || end == text.c_str() || (*end != 0 && *end != ':')) {
    return Fail(ErrorCode::kInvalid, "'" + text + "' is no GPU",
                "--gpu 0, --gpu 0:2 or --gpu 0:MIG-<uuid>");
  }
  Status there = CheckGpu(*machine, static_cast<uint32_t>(gpu));
  if (!there) return tl::unexpected(there.error());
  Target target{static_cast<uint32_t>(gpu), 0};
  if (*end == 0) return target;
  std::string mig = end + 1;
  size_t count = 0;
  machine->Read([&](const MachineState& state) {
    std::vector<const ComputeInstance*> all = ListCis(state.gpus[target.gpu]);
    count = all.size();
    for (size_t i = 0; i < all.size(); ++i) {
      if (mig == all[i]->uuid || mig == std::to_string(i)) target.ci = all[i]->serial;
    }
    return Rc::kOk;
  });
  if (target.ci != 0) return target;
  return Fail(ErrorCode::kNotFound,
              "no MIG device '" + mig + "' on GPU " + std::to_string(gpu) + ", which has " +
                  std::to_string(count),
              "`tranche-sim show` lists them");
}

namespace {

// What the parent hears from the child once it holds its memory.
struct Report {
  Rc rc = Rc::kBroken;
  uint64_t free_bytes = 0;
};

// The workload: holds the memory until its time is over or somebody ends it.
[[noreturn]] void Hold(const AttachOptions& options, const Target& target, int tell) {
  setsid();
  prctl(PR_SET_NAME, "sim-workload");
  Report report;
  uint64_t context = 0;
  // A mapping of its own, so that the parent's end does not matter.
  Result<std::unique_ptr<Machine>> machine = Machine::Open(options.dir);
  if (machine) {
    report.rc = (*machine)->CreateContext(target, kCompute, options.memory.value, &context);
    if (report.rc == Rc::kOk) report.rc = (*machine)->SetLoad(context, options.load, options.load);
    MemoryInfo memory;
    if ((*machine)->GetMemory(target, &memory) == Rc::kOk) report.free_bytes = memory.free;
  }
  bool told = write(tell, &report, sizeof(report)) == sizeof(report);
  if (report.rc != Rc::kOk || !told) _exit(1);
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  // Nor may a shell wait for the end of the pipe that the report went through.
  close(tell);
  // A machine that was deleted has nobody on it.
  using std::chrono::nanoseconds, std::chrono::seconds;
  const std::string state = options.dir + "/machine.state";
  nanoseconds left = options.time ? nanoseconds(*options.time) : nanoseconds::max();
  while (left.count() > 0 && access(state.c_str(), F_OK) == 0) {
    const nanoseconds nap = std::min<nanoseconds>(left, seconds(1));
    std::this_thread::sleep_for(nap);
    if (options.time) left -= nap;
  }
  (*machine)->DestroyContext(context);
  _exit(0);
}

}  // namespace

Status Attach(const AttachOptions& options) {
  Result<std::unique_ptr<Machine>> machine = Machine::Open(options.dir);
  if (!machine) return tl::unexpected(machine.error());
  if (options.load < 0 || options.load > 1) {
    return Fail(ErrorCode::kInvalid, "a load is a share between 0 and 1");
  }
  Result<Target> target = ParseTarget(machine->get(), options.gpu);
  if (!target) return tl::unexpected(target.error());
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Fail(ErrorCode::kFailed, std::string("cannot start a process: ") + std::strerror(errno));
  }
  pid_t child = fork();
  if (child < 0) {
    return Fail(ErrorCode::kFailed, std::string("cannot start a process: ") + std::strerror(errno));
  }
  if (child == 0) Hold(options, *target, ends[1]);
  close(ends[1]);
  Report report;
  ssize_t n;
  do {
    n = read(ends[0], &report, sizeof(report));
  } while (n < 0 && errno == EINTR);
  close(ends[0]);
  if (n == sizeof(report) && report.rc == Rc::kOk) {
    std::printf("%d\n", static_cast<int>(child));
    return {};
  }
  waitpid(child, nullptr, 0);
  std::string why = RcName(report.rc);
  if (report.rc == Rc::kInsufficientResources) {
    why = "only " + FormatBytes(Bytes{report.free_bytes}) + " of memory are free";
  }
  if (report.rc == Rc::kNotSupported) {
    return Fail(ErrorCode::kFailed, "attaching to GPU " + options.gpu + ": MIG mode is on",
                "name a MIG device: --gpu " + options.gpu + ":0");
  }
  return Fail(report.rc == Rc::kInsufficientResources ? ErrorCode::kDoesNotFit : ErrorCode::kFailed,
              "attaching to GPU " + options.gpu + ": " + why);
}

}  // namespace tranche::sim
