#include "face/cli/run_view.h"

#include <fmt/format.h>

#include "base/json.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

constexpr const char* kByLimiter =
    "a limiter inside the program holds what goes through the driver's libraries; a program that "
    "talks to the device behind them would pass";
constexpr const char* kByKernel =
    "the kernel holds its memory, whatever it does, but for managed memory, which like its time "
    "only a limiter inside the program holds";
constexpr const char* kHarder = "For a harder guarantee use a MIG instance or a GPU of its own";

bool LimitsSms(const Gpu& gpu, const MpsService& mps) {
  return mps.sms != 0 && gpu.sm_count && mps.sms < *gpu.sm_count;
}

// A server's limits are for each process; the slice as a whole is the limiter's to hold.
std::string WhatMpsAdds(const Gpu& gpu, const MpsService& mps) {
  std::string text =
      "It becomes a client of an MPS server, so its kernels run beside those of others, and it "
      "shares their faults: what it is charged is what they take alone times the part of the GPU "
      "that they fill";
  if (LimitsSms(gpu, mps)) {
    text += fmt::format("; the server lets each process of it run on {} of {} SMs at most", mps.sms,
                        *gpu.sm_count);
  }
  if (mps.memory)
    text += fmt::format("; and hold {} at most, its context included", FormatBytes(*mps.memory));
  return text;
}

}  // namespace

Answer ViewFraction(const WouldRun& would) {
  const bool by_kernel = would.wish.memory && would.no_kernel.empty();
  const char* memory_guarantee = !would.wish.memory ? "none" : by_kernel ? "kernel" : "cooperative";
  const char* compute_guarantee = would.wish.compute ? "cooperative" : "none";
  std::string why_not_harder = by_kernel ? kByKernel : kByLimiter;
  if (!by_kernel && would.wish.memory)
    why_not_harder += ". The kernel does not: " + would.no_kernel;
  if (would.cost.mps) why_not_harder += ". " + WhatMpsAdds(would.gpu, *would.cost.mps);
  why_not_harder += fmt::format(". {}", kHarder);
  Json memory_by = Json::array(), compute_by = Json::array();
  if (by_kernel) memory_by.push_back("kernel");
  if (would.cost.mps && would.cost.mps->memory) memory_by.push_back("mps");
  if (would.wish.memory) memory_by.push_back("limiter");
  if (would.cost.mps && LimitsSms(would.gpu, *would.cost.mps)) compute_by.push_back("mps");
  if (would.wish.compute) compute_by.push_back("limiter");
  Answer answer;
  answer.json = {{"format_version", "1.0"},
                 {"program", would.file},
                 {"mechanism", "fraction"},
                 {"gpu_uuid", would.gpu.uuid},
                 {"memory_limit_bytes", nullptr},
                 {"compute_request", nullptr},
                 {"compute_limit", nullptr},
                 {"context_bytes", would.cost.bytes.value},
                 {"guarantee",
                  {{"memory", memory_guarantee},
                   {"compute", compute_guarantee},
                   {"fault", "none"},
                   {"access", "cooperative"}}},
                 {"enforced_by", {{"memory", memory_by}, {"compute", compute_by}}},
                 {"why_not_harder", why_not_harder}};
  if (would.cost.mps) {
    answer.json["mps"] = {{"sms", would.cost.mps->sms},
                          {"sms_of_gpu", would.gpu.sm_count.value_or(0)},
                          {"memory_bytes", nullptr}};
    if (would.cost.mps->memory) answer.json["mps"]["memory_bytes"] = would.cost.mps->memory->value;
  }
  std::string memory = "not limited", compute = "not limited";
  if (would.wish.memory) {
    answer.json["memory_limit_bytes"] = would.wish.memory->value;
    memory = fmt::format("{} over all its processes, of which {} for each context",
                         FormatBytes(*would.wish.memory), FormatBytes(would.cost.bytes));
  }
  if (would.wish.compute) {
    answer.json["compute_request"] = would.wish.compute->request.value;
    answer.json["compute_limit"] = would.wish.compute->limit.value;
    const std::string limit = FormatPercent(would.wish.compute->limit.value);
    compute = would.local ? fmt::format(
                                "at most {} of the GPU's time; without the daemon nobody else "
                                "is held back for it",
                                limit)
                          : fmt::format("{} of the GPU's time whenever it wants it, {} at most",
                                        FormatPercent(would.wish.compute->request.value), limit);
  }
  Table table;
  table.columns = {{"what", "WHAT"}, {"value", "VALUE"}};
  table.rows = {{"program", would.file},
                {"GPU", fmt::format("{} {} ({})", would.gpu.index, would.gpu.name, would.gpu.uuid)},
                {"memory", memory},
                {"compute", compute},
                {"mechanism", "fraction"},
                {"guarantee", fmt::format("memory {}, compute {}, fault none", memory_guarantee,
                                          compute_guarantee)},
                {"why not harder", why_not_harder}};
  answer.blocks.emplace_back(std::move(table));
  return answer;
}

Answer ViewWhole(const Gpu& gpu, const Lease& lease, const std::string& file) {
  const Guarantees guarantee = lease.guarantee();
  const std::string why_not_harder =
      "Tranche places nobody else on it; a program that does not ask Tranche still can use it";
  Answer answer;
  answer.json = {{"format_version", "1.0"},
                 {"program", file},
                 {"mechanism", "exclusive"},
                 {"gpu_uuid", gpu.uuid},
                 {"memory_limit_bytes", nullptr},
                 {"compute_request", nullptr},
                 {"compute_limit", nullptr},
                 {"guarantee",
                  {{"memory", GuaranteeName(guarantee.memory)},
                   {"compute", GuaranteeName(guarantee.compute)},
                   {"fault", GuaranteeName(guarantee.fault)},
                   {"access", GuaranteeName(guarantee.access)}}},
                 {"why_not_harder", why_not_harder}};
  Table table;
  table.columns = {{"what", "WHAT"}, {"value", "VALUE"}};
  table.rows = {{"program", file},
                {"GPU", fmt::format("{} {} ({})", gpu.index, gpu.name, gpu.uuid)},
                {"memory", fmt::format("all of it: {}", FormatBytes(gpu.memory_total))},
                {"compute", "all of it"},
                {"mechanism", "exclusive"},
                {"guarantee", GuaranteesText(guarantee)},
                {"why not harder", why_not_harder}};
  answer.blocks.emplace_back(std::move(table));
  return answer;
}

}  // namespace tranche
