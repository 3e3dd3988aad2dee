#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <sstream>

#include "check.h"

namespace tranche::gpu_check {
namespace {

constexpr uint32_t kWhole = 1000000;

std::vector<std::string> Split(const std::string& words) {
  std::istringstream in(words);
  std::vector<std::string> list;
  for (std::string word; in >> word;) list.push_back(word);
  return list;
}

std::string Number(const char* name, double value) {
  char text[64];
  std::snprintf(text, sizeof(text), "%s=%.17g", name, value);
  return text;
}

bool InPath(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace

Compute::Compute(Check& check)
    : check_(check),
      window_(check.fast ? 0.3 : 2.5),
      shapes_({{"full_1ms", "nominal=1000000", 1e6, false},
               {"many_blocks_50us", "blocks=1024 nominal=50000", 50e3, false},
               {"64k_blocks_1ms", "blocks=65536 nominal=1000000", 1e6, false},
               {"one_block_5us", "blocks=1 nominal=5000", 5e3, false},
               {"long_20ms", "nominal=20000000", 20e6, false},
               {"waits_after_1ms", "nominal=1000000 sync=1", 1e6, true},
               {"waits_after_50us", "nominal=50000 sync=1", 50e3, true},
               {"graph_10ms", "nominal=1000000 graph=10", 10e6, false},
               {"copy_16MiB_then_1ms", "nominal=1000000 copy_mib=16", 1e6, true}}) {
  if (!check.cublas.empty()) shapes_.push_back({"cublas", "cublas=1", 1e6, false});
}

const Alone& Compute::AloneOf(const Shape& shape) {
  for (const auto& [name, alone] : alone_) {
    if (name == shape.name) return alone;
  }
  Alone alone;
  std::vector<std::string> options = Split(shape.options);
  options.push_back(Number("begin", static_cast<double>(Now() + check_.lead())));
  options.push_back(Number("offset", check_.clock_offset));
  options.push_back(Number("seconds", check_.fast ? 0.3 : 1.5));
  const Outcome run = check_.Run(check_.GpuWork("share", options), {}, 30);
  alone.reason = run.Reason();
  alone.iterations = run.Number("iterations_each");
  alone.iterations_per_s = run.Number("iterations_per_s");
  alone.share_by_units = run.Number("share_by_units");
  if (shape.sync && run.Number("unit_ns") > 0) {
    alone.share_by_units = 1;
    if (alone.iterations_per_s > 0)
      alone.iterations_per_s =
          alone.iterations * run.Number("blocks") / run.Number("unit_ns") * 1e9;
  }
  if (alone.reason.empty() && alone.iterations_per_s == 0 && alone.share_by_units == 0)
    alone.reason = "it did nothing alone";
  alone_.push_back({shape.name, alone});
  return alone_.back().second;
}

Compute::Result Compute::Together(const std::string& mode, const std::vector<Tenant>& tenants,
                                  double seconds) {
  Result result;
  std::vector<Shares> shares;
  for (const Tenant& tenant : tenants) {
    shares.push_back(tenant.shares);
    const Alone& alone = AloneOf(tenant.shape);
    if (!alone.reason.empty()) {
      result.reason = tenant.shape.name + " alone: " + alone.reason;
      return result;
    }
  }
  std::unique_ptr<Slices> slices;
  if (mode == "limiter") {
    slices = check_.MakeSlices(shares);
    if (!slices->ok()) {
      result.reason = "the slices cannot be made in " + check_.work;
      return result;
    }
  }
  // Enough for all to have begun and to have measured their kernels.
  const int64_t begin = Now() + check_.lead();
  std::vector<std::unique_ptr<Process>> running;
  for (size_t i = 0; i < tenants.size(); ++i) {
    std::vector<std::string> options = Split(tenants[i].shape.options);
    options.insert(options.end(), tenants[i].more.begin(), tenants[i].more.end());
    // As it was measured alone, so that the work is the same whatever it is measured beside.
    options.push_back(Number("iterations", AloneOf(tenants[i].shape).iterations));
    options.push_back(Number("begin", static_cast<double>(begin)));
    options.push_back(Number("offset", check_.clock_offset));
    options.push_back(Number("seconds", seconds));
    std::vector<std::string> environment =
        check_.Environment(mode, slices.get(), i, tenants[i].shares);
    environment.insert(environment.end(), tenants[i].environment.begin(),
                       tenants[i].environment.end());
    running.push_back(
        std::make_unique<Process>(check_.GpuWork("share", options), environment, check_.work));
  }
  const int64_t until = check_.Until(seconds + 12);
  for (size_t i = 0; i < running.size(); ++i) {
    const Outcome run = running[i]->Wait(until);
    if (!run.ok()) {
      result.reason = "tenant " + std::to_string(i + 1) + ": " + run.Reason();
      return result;
    }
    const Alone& alone = AloneOf(tenants[i].shape);
    result.shares.push_back(alone.iterations_per_s > 0
                                ? run.Number("iterations_per_s") / alone.iterations_per_s
                                : run.Number("share_by_units") / alone.share_by_units);
  }
  if (slices != nullptr && slices->Waits() > 0) {
    result.waits_per_s = static_cast<double>(slices->Waits()) / seconds;
    result.waited_us =
        static_cast<double>(slices->WaitedNs()) / static_cast<double>(slices->Waits()) / 1000;
    result.handover_us = slices->HandOverUs();
  }
  return result;
}

void Compute::Pair(Step& step, const std::string& mode, const Shape& shape, uint32_t first) {
  const std::vector<Tenant> tenants = {
      {shape, {TRANCHE_UNLIMITED, first, kWhole}, {}, {}},
      {shape, {TRANCHE_UNLIMITED, kWhole - first, kWhole}, {}, {}}};
  const Result result = Together(mode, tenants, window_);
  if (!result.reason.empty()) {
    step.reason +=
        (step.reason.empty() ? "" : "; ") + mode + " " + shape.name + ": " + result.reason;
    return;
  }
  const double sum = result.shares[0] + result.shares[1];
  const double error = sum <= 0 ? 100 : 100 * std::abs(result.shares[0] / sum - first / 1e6);
  const bool ours = mode == "limiter";
  Value wished{"error_of_ratio", mode, shape.name, error, "points"};
  if (ours)
    wished.at_most =
        shape.nominal_ns < 20e6 ? 0.5 : std::max(0.5, 100 * shape.nominal_ns / (window_ * 1e9));
  step.values.push_back({"first", mode, shape.name, 100 * result.shares[0], "percent"});
  step.values.push_back({"second", mode, shape.name, 100 * result.shares[1], "percent"});
  step.values.push_back(wished);
  Value work{"work", mode, shape.name, 100 * sum, "percent"};
  if (ours && !shape.sync) work.at_least = 98;
  step.values.push_back(work);
  if (result.waits_per_s > 0) {
    step.values.push_back({"waits", mode, shape.name, result.waits_per_s, "per second"});
    step.values.push_back({"wait", mode, shape.name, result.waited_us, "us"});
    step.values.push_back({"hand_over", mode, shape.name, result.handover_us, "us"});
  }
}

void Compute::SharedBy3070(Step& step) {
  for (const Shape& shape : shapes_) {
    if (check_.fast && shape.name != "full_1ms" && shape.name != "graph_10ms" &&
        shape.name != "copy_16MiB_then_1ms")
      continue;
    for (const std::string& mode : check_.Modes()) {
      if (Now() > check_.deadline) {
        step.reason += "; the time was over before " + shape.name;
        return;
      }
      Pair(step, mode, shape, 300000);
    }
  }
}

void Compute::SharedBy1090(Step& step) {
  for (const std::string& mode : check_.Modes()) Pair(step, mode, shapes_[0], 100000);
}

void Compute::ThreeWithPauses(Step& step) {
  for (const std::string& mode : check_.Modes()) {
    std::vector<Tenant> tenants;
    for (int i = 0; i < 3; ++i) {
      tenants.push_back({shapes_[0],
                         {TRANCHE_UNLIMITED, 333000, kWhole},
                         {"active_ms=300", "idle_ms=150", "phase_ms=" + std::to_string(150 * i)},
                         {}});
    }
    const Result result = Together(mode, tenants, check_.fast ? 0.45 : 3.6);
    if (!result.reason.empty()) {
      step.reason += (step.reason.empty() ? "" : "; ") + mode + ": " + result.reason;
      continue;
    }
    double sum = 0, least = 1, most = 0;
    for (const double share : result.shares) {
      sum += share;
      least = std::min(least, share);
      most = std::max(most, share);
    }
    step.values.push_back({"least", mode, "full_1ms", 100 * least, "percent"});
    step.values.push_back({"most", mode, "full_1ms", 100 * most, "percent"});
    // One of them always pauses, so what it leaves must go to the others.
    step.values.push_back({"work", mode, "full_1ms", 100 * sum, "percent"});
  }
}

void Compute::Capped(Step& step) {
  for (const Shape& shape : shapes_) {
    const bool asked = shape.name == "full_1ms" || shape.name == "many_blocks_50us" ||
                       shape.name == "graph_10ms" || shape.name == "waits_after_1ms";
    if (!asked || (check_.fast && shape.name != "full_1ms")) continue;
    for (const std::string& mode : check_.Modes()) {
      if (mode == "none") continue;
      const Result result =
          Together(mode, {{shape, {TRANCHE_UNLIMITED, 250000, 250000}, {}, {}}}, window_);
      if (!result.reason.empty()) {
        step.reason +=
            (step.reason.empty() ? "" : "; ") + mode + " " + shape.name + ": " + result.reason;
        continue;
      }
      Value error{"error_of_a_limit_of_25", mode, shape.name,
                  100 * std::abs(result.shares[0] - 0.25), "points"};
      if (mode == "limiter") error.at_most = 0.5;
      step.values.push_back({"got", mode, shape.name, 100 * result.shares[0], "percent"});
      step.values.push_back(error);
    }
  }
}

void Compute::Latency(Step& step) {
  struct Visitor {
    const char* name;
    const char* options;
    std::optional<double> p99_us;
  };
  const Visitor visitors[] = {{"probe_20us_1kHz", "nominal=20000 every_us=1000", {}},
                              {"returns_after_150ms", "nominal=500000 every_us=150000", 3000}};
  const double seconds = check_.fast ? 0.3 : 3;
  for (const Visitor& visitor : visitors) {
    for (const std::string& mode : check_.Modes()) {
      const Shares shares[] = {{TRANCHE_UNLIMITED, 500000, kWhole},
                               {TRANCHE_UNLIMITED, 500000, kWhole}};
      const Alone& alone = AloneOf(shapes_[0]);
      if (!alone.reason.empty()) {
        step.reason = alone.reason;
        return;
      }
      std::unique_ptr<Slices> slices;
      if (mode == "limiter") slices = check_.MakeSlices({shares[0], shares[1]});
      const int64_t begin = Now() + check_.lead();
      std::vector<std::string> neighbour = Split(shapes_[0].options);
      neighbour.push_back(Number("iterations", alone.iterations));
      neighbour.push_back(Number("begin", static_cast<double>(begin)));
      neighbour.push_back(Number("offset", check_.clock_offset));
      neighbour.push_back(Number("seconds", seconds));
      std::vector<std::string> own = Split(visitor.options);
      own.push_back(Number("begin", static_cast<double>(begin)));
      own.push_back(Number("seconds", seconds));
      Process busy(check_.GpuWork("share", neighbour),
                   check_.Environment(mode, slices.get(), 0, shares[0]), check_.work);
      Process visits(check_.GpuWork("probe", own),
                     check_.Environment(mode, slices.get(), 1, shares[1]), check_.work);
      const int64_t until = check_.Until(seconds + 17);
      const Outcome probe = visits.Wait(until), kept = busy.Wait(until);
      if (!probe.ok() || !kept.ok()) {
        step.reason += (step.reason.empty() ? "" : "; ") + mode + " " + visitor.name + ": " +
                       (probe.ok() ? kept.Reason() : probe.Reason());
        continue;
      }
      const double kept_part = alone.iterations_per_s > 0
                                   ? kept.Number("iterations_per_s") / alone.iterations_per_s
                                   : kept.Number("share_by_units") / alone.share_by_units;
      Value p99{"until_done_p99", mode, visitor.name, probe.Number("p99_ns") / 1000, "us"};
      if (mode == "limiter") p99.at_most = visitor.p99_us;
      step.values.push_back(
          {"until_done_p50", mode, visitor.name, probe.Number("p50_ns") / 1000, "us"});
      step.values.push_back(p99);
      step.values.push_back(
          {"served", mode, visitor.name, probe.Number("served_per_s"), "per second"});
      step.values.push_back({"neighbour_keeps", mode, visitor.name, 100 * kept_part, "percent"});
      if (slices != nullptr && slices->Waits() > 0)
        step.values.push_back(
            {"wait", mode, visitor.name,
             static_cast<double>(slices->WaitedNs()) / static_cast<double>(slices->Waits()) / 1000,
             "us"});
    }
  }
}

void Compute::UnderMps(Step& step) {
  if (!InPath("nvidia-cuda-mps-control")) {
    step.status = "skipped";
    step.reason = "there is no nvidia-cuda-mps-control in PATH";
    return;
  }
  // A daemon of our own, with a pipe of its own: nobody else's programs meet it.
  const std::string pipe = check_.work + "/mps", log = check_.work + "/mps-log";
  mkdir(pipe.c_str(), 0700);
  mkdir(log.c_str(), 0700);
  const std::vector<std::string> where = {"CUDA_MPS_PIPE_DIRECTORY=" + pipe,
                                          "CUDA_MPS_LOG_DIRECTORY=" + log};
  const Outcome started = check_.Run({"nvidia-cuda-mps-control", "-d"}, where, 10);
  if (!started.ok()) {
    step.status = "failed";
    step.reason = "its daemon does not start: " + started.Reason();
    return;
  }
  for (const Shape& shape : shapes_) {
    const bool asked =
        shape.name == "full_1ms" || shape.name == "one_block_5us" || shape.name == "64k_blocks_1ms";
    if (!asked || (check_.fast && shape.name != "full_1ms")) continue;
    std::vector<Tenant> tenants;
    for (const int percent : {30, 70}) {
      tenants.push_back({shape, {}, {}, where});
      tenants.back().environment.push_back("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=" +
                                           std::to_string(percent));
    }
    const Result result = Together("mps", tenants, window_);
    if (!result.reason.empty()) {
      step.reason += (step.reason.empty() ? "" : "; ") + shape.name + ": " + result.reason;
      continue;
    }
    const double sum = result.shares[0] + result.shares[1];
    step.values.push_back({"first", "mps", shape.name, 100 * result.shares[0], "percent"});
    step.values.push_back({"second", "mps", shape.name, 100 * result.shares[1], "percent"});
    step.values.push_back({"error_of_ratio", "mps", shape.name,
                           sum <= 0 ? 100 : 100 * std::abs(result.shares[0] / sum - 0.3),
                           "points"});
    step.values.push_back({"work", "mps", shape.name, 100 * sum, "percent"});
  }
  check_.Run({"sh", "-c", "echo quit | nvidia-cuda-mps-control"}, where, 15);
}

}  // namespace tranche::gpu_check
