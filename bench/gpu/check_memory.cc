#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "check.h"

namespace tranche::gpu_check {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGranule = 2 * kMiB;

}  // namespace

// Through each way, as much as is given; what the GPU then has less, as a process that nobody
// limits sees it.
void CheckMemory(Check& check, Step& step) {
  const char* families[] = {"linear", "pitch", "managed",      "async",  "pool",
                            "vmm",    "array", "vmm-released", "mipmap", "graph"};
  const uint64_t chunk = 64 * kMiB;
  const uint64_t limit = check.context_bytes + 2048 * kMiB;
  for (const char* family : families) {
    for (const std::string& mode : check.Modes()) {
      if (mode == "none") continue;
      if (Now() > check.deadline) {
        step.reason += std::string("; the time was over before ") + family;
        return;
      }
      const Shares shares{limit, 0, 0};
      std::unique_ptr<Slices> slices;
      if (mode == "limiter") slices = check.MakeSlices({shares});
      const double before = check.UsedByAll();
      // Enough to pass the limit by far, if nobody stops it.
      Process fill({check.programs + "/gpu_fill", "dlopen", family, std::to_string(chunk / kMiB),
                    "48", "hold"},
                   check.Environment(mode, slices.get(), 0, shares), check.work);
      const int64_t until = check.Until(15);
      while (fill.Running() && fill.Said().empty() && Now() < until) usleep(10000);
      const double during = check.UsedByAll();
      const uint64_t books = slices == nullptr ? 0 : slices->Used(0);
      const std::string said = fill.Said();
      const Outcome end = fill.Wait(check.Until(5));
      if (said.empty() || before < 0 || during < 0) {
        step.reason += (step.reason.empty() ? "" : "; ") + mode + " " + family + ": " +
                       (end.ok() ? "it said nothing" : end.Reason());
        continue;
      }
      const double given = std::atof(said.c_str()) * static_cast<double>(chunk);
      const double taken = during - before, allowed = static_cast<double>(limit);
      const bool ours = mode == "limiter";
      step.values.push_back({"given", mode, family, given, "bytes"});
      Value over{"of_the_gpu_over_the_limit", mode, family, std::max(0.0, taken - allowed),
                 "bytes"};
      if (ours) over.at_most = static_cast<double>(kGranule);
      step.values.push_back(over);
      // A mipmapped array takes a third more than was asked for, managed memory nothing before it
      // is used.
      const double had = std::max(taken, given + static_cast<double>(check.context_bytes));
      Value lost{"of_the_limit_not_taken", mode, family, std::max(0.0, allowed - had), "bytes"};
      if (ours) lost.at_most = static_cast<double>(2 * chunk);
      step.values.push_back(lost);
      if (ours)
        step.values.push_back(
            {"books_minus_gpu", mode, family, static_cast<double>(books) - taken, "bytes"});
    }
  }
}

// Programs that allocate and launch without end, killed at any instant: what they held must be free
// again, in the books and on the GPU, and the limit must hold at every look.
void CheckKillStorm(Check& check, Step& step) {
  const Shares shares{4 * check.context_bytes + 2048 * kMiB, 500000, 1000000};
  const std::unique_ptr<Slices> slices = check.MakeSlices({shares});
  if (!slices->ok()) {
    step.status = "failed";
    step.reason = "the slice cannot be made";
    return;
  }
  const auto environment = check.Environment("limiter", slices.get(), 0, shares);
  const double before = check.UsedByAll();
  std::vector<std::unique_ptr<Process>> storm(4);
  uint64_t most = 0;
  int kills = 0, failures = 0;
  std::string reason;
  const int64_t end = Now() + (check.fast ? 1 : 12) * kSecond;
  unsigned random = 1;
  while (Now() < end) {
    for (auto& process : storm) {
      random = random * 1664525 + 1013904223;
      if (process != nullptr && process->Running()) {
        if (random >> 30 != 0) continue;
        process->Kill();
        ++kills;
      } else if (process != nullptr) {
        const Outcome outcome = process->Wait(Now());
        // Four at a time: one's context may find no room while the dead are being counted out.
        ++failures;
        reason = outcome.Reason();
      }
      process = std::make_unique<Process>(
          check.GpuWork("storm", {"seed=" + std::to_string(random >> 8)}), environment, check.work);
    }
    most = std::max(most, slices->Used(0));
    usleep(100000);
  }
  storm.clear();
  slices->Reap(0);
  const double left = static_cast<double>(slices->Used(0));
  Shares all = shares;
  const Outcome fill = check.Run({check.programs + "/gpu_fill", "dlopen", "linear", "64", "200"},
                                 check.Environment("limiter", slices.get(), 0, all), 30);
  const double after = check.UsedByAll();
  step.values = {
      {"killed", "limiter", "", static_cast<double>(kills), "", {}, 1.0},
      {"ended_by_themselves", "limiter", "", static_cast<double>(failures), ""},
      {"books_over_the_limit", "limiter", "",
       most > shares.memory_bytes ? static_cast<double>(most - shares.memory_bytes) : 0.0, "bytes",
       0.0},
      {"left_in_the_books", "limiter", "", left, "bytes", 0.0},
      {"left_on_the_gpu", "limiter", "", std::max(0.0, after - before), "bytes",
       static_cast<double>(kGranule)},
      {"given_to_the_next",
       "limiter",
       "",
       std::atof(fill.output.c_str()) * 64 * kMiB,
       "bytes",
       {},
       static_cast<double>(shares.memory_bytes - check.context_bytes - 128 * kMiB)}};
  if (failures > 0) step.reason = "some ended by themselves, the last: " + reason;
}

}  // namespace tranche::gpu_check
