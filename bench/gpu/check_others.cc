#include <unistd.h>

#include <algorithm>

#include "check.h"

namespace tranche::gpu_check {

void CheckNvml(Check& check, Step& step) {
  const Outcome probe = check.Run({check.programs + "/nvml_probe"}, {}, 30);
  if (!probe.ok()) {
    step.status = "failed";
    step.reason = probe.Reason();
    return;
  }
  step.document = probe.output;
  while (!step.document.empty() && step.document.back() == '\n') step.document.pop_back();
}

void CheckFacts(Check& check, Step& step) {
  const Outcome facts = check.Run(check.GpuWork("facts", {}), {}, 40);
  if (!facts.ok()) {
    step.status = "failed";
    step.reason = facts.Reason();
  }
  for (const auto& [name, number] : facts.numbers) {
    const bool percent = name.ends_with("_percent");
    const std::string what = name.substr(0, name.rfind('_'));
    step.values.push_back({what, "none", "", number, percent ? "percent" : "ns"});
  }
  const Outcome names = check.Run(check.GpuWork("kernel-name", {}), {}, 20);
  for (const auto& [name, number] : names.numbers)
    step.values.push_back({"cuFuncGetName_" + name, "none", "", number, "CUresult"});
  if (!names.ok())
    step.reason += (step.reason.empty() ? "" : "; ") + ("cuFuncGetName: " + names.Reason());
}

// Two programs that want the GPU all the time and that nobody limits.
void CheckTimeSlices(Check& check, Step& step) {
  const std::vector<std::string> options = {"seconds=" + std::string(check.fast ? "0.2" : "1.5"),
                                            "begin=" + std::to_string(Now() + check.lead())};
  Process first(check.GpuWork("slices", options), {}, check.work);
  Process second(check.GpuWork("slices", options), {}, check.work);
  const int64_t until = check.Until(20);
  const Outcome a = first.Wait(until), b = second.Wait(until);
  const Outcome alone = check.Run(check.GpuWork("slices", {"seconds=0.2", "least=1"}), {}, 20);
  if (!a.ok() || !b.ok()) {
    step.status = check.simulated ? "skipped" : "failed";
    step.reason = a.ok() ? b.Reason() : a.Reason();
    return;
  }
  for (const auto& [name, number] : a.numbers)
    step.values.push_back({name.ends_with("_ns") ? name.substr(0, name.size() - 3) : name, "none",
                           "two_that_never_pause", number, name == "gaps" ? "" : "ns"});
  if (alone.ok())
    step.values.push_back({"step_of_the_clock", "none", "alone", alone.Number("gap_p10_ns"), "ns"});
}

void CheckOverhead(Check& check, Step& step) {
  std::map<std::string, double> bare;
  const auto measure = [&](const std::string& label, const std::string& mode,
                           const Shares& shares) {
    std::unique_ptr<Slices> slices;
    if (mode == "limiter") slices = check.MakeSlices({shares});
    const auto environment = check.Environment(mode, slices.get(), 0, shares);
    // The least of some runs: what else the host does only adds.
    Outcome run;
    std::map<std::string, double> numbers;
    for (int i = 0; i < (check.fast ? 1 : 3); ++i) {
      run = check.Run(check.GpuWork("overhead", {}), environment, 30);
      if (!run.ok()) break;
      for (const auto& [name, number] : run.numbers) {
        const auto known = numbers.emplace(name, number).first;
        known->second = std::min(known->second, number);
      }
    }
    std::vector<double> starts;
    for (int i = 0; run.ok() && i < (check.fast ? 1 : 5); ++i) {
      const Outcome start = check.Run(check.GpuWork("start", {}), environment, 20);
      if (start.ok()) starts.push_back(start.Number("init_ns"));
    }
    std::sort(starts.begin(), starts.end());
    if (!starts.empty()) numbers["init_ns"] = starts[starts.size() / 2];
    if (!run.ok()) {
      step.reason += (step.reason.empty() ? "" : "; ") + label + ": " + run.Reason();
      return;
    }
    for (const auto& [name, number] : numbers) {
      const std::string what = name.substr(0, name.size() - 3);
      step.values.push_back({what, label, "", number, "ns"});
      if (label == "none") {
        bare[name] = number;
        continue;
      }
      if (bare.count(name) == 0) continue;
      Value added{"added_to_" + what, label, "", number - bare[name], "ns"};
      if (mode == "limiter" && what.find("launch") != std::string::npos)
        added.at_most = shares.limit == 0 ? 5 : 40;
      if (mode == "limiter" && what.find("live") != std::string::npos) added.at_most = 300;
      if (mode == "limiter" && what == "init") added.at_most = 2e6;
      step.values.push_back(added);
    }
  };
  const uint64_t most = check.memory_bytes - check.memory_bytes / 8;
  measure("none", "none", {});
  measure("limiter: memory", "limiter", {most, 0, 0});
  measure("limiter: memory and time", "limiter", {most, 1000000, 1000000});
  measure("limiter: capped at 50 %", "limiter", {most, 500000, 500000});
  if (!check.rival.empty()) measure("rival", "rival", {most, 500000, 500000});
}

void CheckTorch(Check& check, Step& step) {
  const Outcome there =
      check.Run({"python3", "-c", "import torch; print('torch=', torch.__version__)"}, {}, 60);
  if (!there.ok()) {
    step.status = "skipped";
    step.reason = "python3 has no torch: " + there.Reason();
    return;
  }
  for (const std::string work : {"train", "decode"}) {
    double alone = 0;
    for (const std::string& mode : check.Modes()) {
      if (Now() > check.deadline) {
        step.reason += "; the time was over before " + work;
        return;
      }
      const Shares shares{check.memory_bytes / 4, 400000, 400000};
      std::unique_ptr<Slices> slices;
      if (mode == "limiter") slices = check.MakeSlices({shares});
      const Outcome run =
          check.Run({"python3", check.scripts + "/torch_steps.py", work, check.fast ? "1" : "6"},
                    check.Environment(mode, slices.get(), 0, shares), 60);
      if (!run.ok()) {
        step.reason += (step.reason.empty() ? "" : "; ") + mode + " " + work + ": " + run.Reason();
        continue;
      }
      const double rate = run.Number("steps_per_s");
      if (mode == "none") alone = rate;
      step.values.push_back({"steps", mode, work, rate, "per second"});
      if (mode == "none" || alone <= 0) continue;
      step.values.push_back(
          {"of_alone_with_a_limit_of_40", mode, work, 100 * rate / alone, "percent"});
    }
  }
}

}  // namespace tranche::gpu_check
