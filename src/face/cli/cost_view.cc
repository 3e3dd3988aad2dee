#include "face/cli/cost_view.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"

namespace tranche {
namespace {

Json Document(const std::string& currency) {
  return {{"format_version", "1.0"}, {"currency", currency}};
}

std::string Raw(double value) { return fmt::format("{}", value); }

Cell MoneyCell(double amount, const std::string& currency) {
  return {FormatMoney(amount, currency), Raw(amount)};
}

Cell PercentCell(double fraction) { return {FormatPercent(fraction), Raw(fraction)}; }

// "-73 %" and "+12 %": what people read off a table of costs.
std::string ChangeText(double saving) {
  return saving >= 0 ? FormatPercent(saving) + " less" : FormatPercent(-saving) + " more";
}

std::string FromText(const KnownPrice& price) {
  return price.from.empty() ? "" : fmt::format(" ({})", price.from);
}

void PutPrice(Json* json, const KnownPrice& price) {
  (*json)["price_per_hour"] = price.per_hour;
  if (!price.from.empty()) (*json)["price_source"] = price.from;
}

}  // namespace

Answer ViewPrices(const PriceList& list) {
  Answer answer;
  Table table;
  table.columns = {{"gpu", "GPU"},
                   {"price_per_hour", "PER GPU/H", Align::kRight},
                   {"spot", "BILLING"},
                   {"instance_gpus", "IN GROUPS OF", Align::kRight},
                   {"provider", "PROVIDER"},
                   {"region", "REGION"},
                   {"instance", "INSTANCE", Align::kLeft, true},
                   {"name", "NAMED", Align::kLeft, true},
                   {"currency", "CURRENCY", Align::kLeft, true},
                   {"source", "SOURCE", Align::kLeft, true, true}};
  std::vector<const Price*> prices;
  for (const Price& price : list.prices) prices.push_back(&price);
  std::stable_sort(prices.begin(), prices.end(), [](const Price* a, const Price* b) {
    return std::tuple(a->gpu.empty(), a->gpu, a->spot, a->per_hour) <
           std::tuple(b->gpu.empty(), b->gpu, b->spot, b->per_hour);
  });
  Json rows = Json::array();
  for (const Price* price : prices) {
    Json row = {{"name", price->name}};
    if (!price->gpu.empty()) row["gpu"] = price->gpu;
    row["price_per_hour"] = price->per_hour;
    row["spot"] = price->spot;
    row["instance_gpus"] = price->gpus;
    if (!price->instance.empty()) row["instance"] = price->instance;
    if (!price->provider.empty()) row["provider"] = price->provider;
    if (!price->region.empty()) row["region"] = price->region;
    row["source"] = price->source;
    rows.push_back(std::move(row));
    table.rows.push_back(
        {price->gpu.empty() ? Cell(price->name + " (unknown)", price->name) : Cell(price->gpu),
         Cell(fmt::format("{:.2f}", price->per_hour), Raw(price->per_hour)),
         Cell(price->spot ? "spot" : "on demand", price->spot ? "true" : "false"),
         std::to_string(price->gpus), price->provider, price->region, price->instance, price->name,
         list.currency, price->source});
  }
  answer.json = Document(list.currency);
  answer.json["prices"] = std::move(rows);
  answer.json["notes"] = list.notes;
  answer.blocks.emplace_back(std::move(table));
  std::string notes =
      fmt::format("\n{} prices in {} per GPU and hour.\n", list.prices.size(), list.currency);
  for (const std::string& note : list.notes) notes += Printable(note) + "\n";
  answer.blocks.emplace_back(std::move(notes));
  return answer;
}

Answer ViewTokensCost(const TokensCost& cost, const std::string& currency) {
  Answer answer;
  answer.json = Document(currency);
  PutPrice(&answer.json, cost.price);
  answer.json["tenants"] = cost.tenants;
  answer.json["tokens_per_second"] = cost.tokens_per_second;
  answer.json["utilization"] = cost.utilization;
  answer.json["cost_per_million_tokens"] = cost.cost_per_million;
  const double hour = cost.tokens_per_second * 3600 * cost.utilization / 1e6;
  std::string part = FormatMoney(cost.price.per_hour, currency) + " per hour";
  if (cost.tenants > 1) {
    part = fmt::format("{} per hour shared by {}", FormatMoney(cost.price.per_hour, currency),
                       cost.tenants);
  }
  answer.blocks.emplace_back(fmt::format(
      "{:.4f} {} per million tokens: {}{}, {:.4g} million tokens in that hour ({:.6g} per second, "
      "{} of the time).\n",
      cost.cost_per_million, currency, part, FromText(cost.price), hour, cost.tokens_per_second,
      FormatPercent(cost.utilization)));
  return answer;
}

Answer ViewShareCost(const ShareAsk& ask, const ShareCost& cost, const SharingOverhead& overhead,
                     const KnownPrice& price, const std::string& currency) {
  Answer answer;
  Json& json = answer.json = Document(currency);
  json["mechanism"] = MechanismName(ask.mechanism);
  json["gpus"] = ask.gpus;
  PutPrice(&json, price);
  json["tenants_per_gpu"] = ask.tenants;
  json["baseline_cost_per_hour"] = cost.baseline_per_hour;
  json["cost_per_workload_per_hour"] = cost.cost_per_hour;
  json["price_per_workload_per_hour"] = cost.price_part_per_hour;
  json["saving_fraction"] = cost.saving_fraction;
  json["gpu_hours_recovered_per_day"] = cost.gpu_hours_recovered;
  json["gpus_freed"] = cost.gpus_freed;
  json["throughput_fraction"] = ask.throughput;
  json["break_even_utilization"] = cost.break_even_utilization;
  if (ask.utilization) {
    json["utilization"] = *ask.utilization;
    json["pays"] = *cost.fits && cost.saving_fraction > 0;
  }
  json["throughput_source"] = {{"from_fraction", overhead.from},
                               {"to_fraction", overhead.to},
                               {"source", overhead.source},
                               {"confidence", ConfidenceName(overhead.confidence)}};

  Table table;
  table.columns = {{"what", "WHAT"}, {"value", "VALUE", Align::kRight}, {"how", "HOW"}};
  const auto row = [&table](const char* what, Cell value, std::string how) {
    table.rows.push_back({what, std::move(value), std::move(how)});
  };
  row("one workload, its own GPU, per hour", MoneyCell(cost.baseline_per_hour, currency),
      "the price of a GPU" + FromText(price));
  row("one workload, shared, per hour", MoneyCell(cost.cost_per_hour, currency),
      fmt::format("{:.4g} / {} tenants / {:.4g} of the throughput left", price.per_hour,
                  ask.tenants, ask.throughput));
  row("of that on the bill", MoneyCell(cost.price_part_per_hour, currency),
      "the rest is what sharing takes of the GPU");
  row("saving", PercentCell(cost.saving_fraction),
      cost.saving_fraction > 0 ? "" : "sharing costs more than it saves");
  row("GPU-hours recovered per day", Cell(fmt::format("{:.4g}", cost.gpu_hours_recovered)),
      fmt::format("{} workloads need {:.4g} GPUs instead of {}: {:.4g} x 24 h", ask.gpus,
                  ask.gpus - cost.gpus_freed, ask.gpus, cost.gpus_freed));
  row("stops paying above", PercentCell(cost.break_even_utilization),
      "of a GPU wanted by each tenant: then all together want more than there is");
  answer.blocks.emplace_back(std::move(table));
  std::string note =
      fmt::format("\n{} leaves {} of the throughput; sources say {} to {} ({}).\n",
                  MechanismName(ask.mechanism), FormatPercent(ask.throughput),
                  FormatPercent(overhead.from), FormatPercent(overhead.to), overhead.source);
  if (ask.utilization && !*cost.fits) {
    note +=
        fmt::format("Each tenant wants {}, and gets {}: it does not pay.\n",
                    FormatPercent(*ask.utilization), FormatPercent(cost.break_even_utilization));
  }
  answer.blocks.emplace_back(std::move(note));
  return answer;
}

Answer ViewSliceCosts(const CatalogGpu& gpu, const std::vector<SliceCost>& slices,
                      const KnownPrice& price, const std::string& currency) {
  Answer answer;
  answer.json = Document(currency);
  answer.json["gpu"] = gpu.key;
  PutPrice(&answer.json, price);
  Table table;
  table.columns = {{"profile", "PROFILE"},
                   {"max_instances", "MOST", Align::kRight},
                   {"memory_bytes", "MEMORY", Align::kRight},
                   {"compute_fraction", "SMS", Align::kRight},
                   {"cost_per_hour", "PER HOUR", Align::kRight},
                   {"cost_per_month", "PER MONTH", Align::kRight},
                   {"share_cost_per_hour", "BY ITS PART", Align::kRight}};
  Json rows = Json::array();
  for (const SliceCost& slice : slices) {
    rows.push_back({{"profile", slice.profile},
                    {"max_instances", slice.most},
                    {"memory_bytes", slice.memory.value},
                    {"compute_fraction", slice.compute_fraction},
                    {"cost_per_hour", slice.cost_per_hour},
                    {"cost_per_month", slice.cost_per_hour * kHoursPerMonth},
                    {"share_cost_per_hour", slice.part_per_hour}});
    table.rows.push_back({slice.profile, std::to_string(slice.most),
                          Cell(FormatBytes(slice.memory), std::to_string(slice.memory.value)),
                          PercentCell(slice.compute_fraction),
                          MoneyCell(slice.cost_per_hour, currency),
                          MoneyCell(slice.cost_per_hour * kHoursPerMonth, currency),
                          MoneyCell(slice.part_per_hour, currency)});
  }
  answer.json["slices"] = std::move(rows);
  answer.blocks.emplace_back(std::move(table));
  answer.blocks.emplace_back(fmt::format(
      "\nPER HOUR is {} per hour{} divided by as many as fit, all in use; BY ITS PART goes by "
      "memory slots.\n",
      FormatMoney(price.per_hour, currency), FromText(price)));
  return answer;
}

Answer ViewComparison(const std::vector<GpuComparison>& comparisons, const CompareAsk& ask,
                      const std::string& currency) {
  // What the workloads cost where nothing is shared and nothing can be taken away.
  double baseline = 0;
  std::string baseline_gpu;
  for (const GpuComparison& one : comparisons) {
    for (const PricedOption& option : one.comparison.options) {
      if (option.mechanism != Mechanism::kExclusive || option.spot) continue;
      if (!baseline_gpu.empty() && option.cost_per_hour >= baseline) continue;
      baseline = option.cost_per_hour;
      baseline_gpu = one.gpu;
    }
  }
  Answer answer;
  Json& json = answer.json = Document(currency);
  json["workloads"] = ask.workloads;
  json["memory_bytes"] = ask.memory.value;
  json["hours_per_month"] = ask.hours_per_month;
  if (!baseline_gpu.empty())
    json["baseline"] = {{"gpu", baseline_gpu}, {"cost_per_hour", baseline}};
  Table table;
  table.columns = {{"gpu", "GPU"},
                   {"mechanism", "MECHANISM"},
                   {"profile", "PROFILE"},
                   {"billing", "BILLING"},
                   {"workloads_per_gpu", "PER GPU", Align::kRight},
                   {"gpus", "GPUS", Align::kRight},
                   {"cost_per_hour", "PER HOUR", Align::kRight},
                   {"cost_per_month", "PER MONTH", Align::kRight},
                   {"cost_per_workload_per_hour", "PER WORKLOAD/H", Align::kRight},
                   {"saving_fraction", "SAVING", Align::kRight},
                   {"throughput_fraction", "THROUGHPUT", Align::kRight, true},
                   {"limit", "LIMIT", Align::kLeft, true, true}};
  Json options = Json::array();
  Json left_out = Json::array();
  std::string notes;
  struct Line {
    double cost;
    std::vector<Cell> cells;
  };
  std::vector<Line> lines;
  for (const GpuComparison& one : comparisons) {
    for (const PricedOption& option : one.comparison.options) {
      const double saving =
          baseline_gpu.empty() ? option.saving_fraction : 1 - option.cost_per_hour / baseline;
      Json row = {{"gpu", one.gpu}, {"mechanism", MechanismName(option.mechanism)}};
      if (!option.profile.empty()) row["profile"] = option.profile;
      row["billing"] = option.spot ? "spot" : "on-demand";
      row["workloads_per_gpu"] = option.per_gpu;
      row["gpus"] = option.gpus;
      row["cost_per_hour"] = option.cost_per_hour;
      row["cost_per_month"] = option.cost_per_month;
      row["cost_per_workload_per_hour"] = option.cost_per_workload_per_hour;
      row["saving_fraction"] = saving;
      row["throughput_fraction"] = option.throughput_per_gpu;
      row["limit"] = option.limit;
      options.push_back(std::move(row));
      lines.push_back({option.cost_per_hour,
                       {one.gpu, MechanismName(option.mechanism),
                        option.profile.empty() ? Cell() : Cell(option.profile),
                        option.spot ? "spot" : "on-demand", std::to_string(option.per_gpu),
                        std::to_string(option.gpus), MoneyCell(option.cost_per_hour, currency),
                        MoneyCell(option.cost_per_month, currency),
                        MoneyCell(option.cost_per_workload_per_hour, currency),
                        Cell(ChangeText(saving), Raw(saving)),
                        PercentCell(option.throughput_per_gpu), option.limit}});
    }
    for (const auto& [mechanism, why] : one.comparison.left_out) {
      left_out.push_back(
          {{"gpu", one.gpu}, {"mechanism", MechanismName(mechanism)}, {"because", why}});
      notes += fmt::format("Left out: {} on {}: {}.\n", MechanismName(mechanism), one.gpu, why);
    }
  }
  std::stable_sort(lines.begin(), lines.end(),
                   [](const Line& a, const Line& b) { return a.cost < b.cost; });
  for (Line& line : lines) table.rows.push_back(std::move(line.cells));
  json["options"] = std::move(options);
  json["left_out"] = std::move(left_out);
  answer.blocks.emplace_back(std::move(table));
  answer.blocks.emplace_back(
      fmt::format("\n{} {} of {} each; a month has {:.4g} hours.{} Whether a mechanism protects "
                  "them is another "
                  "question: tranche advise.\n",
                  ask.workloads, ask.workloads == 1 ? "workload" : "workloads",
                  FormatBytes(ask.memory), ask.hours_per_month,
                  baseline_gpu.empty()
                      ? std::string()
                      : fmt::format(" SAVING is against {} per hour for {} of their own on demand.",
                                    FormatMoney(baseline, currency), baseline_gpu)));
  if (!notes.empty()) answer.blocks.emplace_back(std::move(notes));
  return answer;
}

Answer ViewBreakEven(const BreakEvenAsk& ask, const BreakEven& found, const KnownPrice& price,
                     const std::optional<TrafficCost>& at, const std::string& currency) {
  Answer answer;
  Json& json = answer.json = Document(currency);
  PutPrice(&json, price);
  json["tenants"] = ask.tenants;
  json["tokens_per_second"] = ask.tokens_per_second;
  json["shared_tokens_per_second"] = ask.shared_tokens_per_second;
  json["part_cost_per_hour"] = found.part_per_hour;
  json["cost_per_million_tokens_exclusive"] = found.cost_per_million_alone;
  json["cost_per_million_tokens_shared"] = found.cost_per_million_shared;
  json["always_pays"] = !found.tokens_per_second;
  std::string verdict;
  if (found.tokens_per_second) {
    json["break_even_tokens_per_second"] = *found.tokens_per_second;
    json["break_even_utilization"] = found.utilization;
    json["break_even_parts"] = found.parts;
    verdict = fmt::format(
        "Sharing stops paying above {:.6g} tokens per second of one workload ({} of what it has on "
        "a "
        "GPU of its own):\n{} of {} parts carry that, and one part more costs as much as the "
        "GPU.\n",
        *found.tokens_per_second, FormatPercent(found.utilization), found.parts, ask.tenants);
  } else {
    verdict = fmt::format(
        "Sharing never costs more: {} parts together do {:.6g} tokens per second, no less than the "
        "{:.6g} of one alone.\n",
        ask.tenants, ask.tenants * ask.shared_tokens_per_second, ask.tokens_per_second);
  }
  answer.blocks.emplace_back(std::move(verdict));
  Table table;
  table.columns = {{"tokens_per_second", "TRAFFIC (TOK/S)", Align::kRight},
                   {"parts", "PARTS", Align::kRight},
                   {"shared_cost_per_hour", "SHARED/H", Align::kRight},
                   {"gpus", "GPUS", Align::kRight},
                   {"exclusive_cost_per_hour", "EXCLUSIVE/H", Align::kRight},
                   {"shared_cost_per_million_tokens", "SHARED/1M", Align::kRight},
                   {"exclusive_cost_per_million_tokens", "EXCLUSIVE/1M", Align::kRight},
                   {"cheaper", "CHEAPER"}};
  Json rows = Json::array();
  const auto add = [&](const TrafficCost& cost) {
    const double difference = cost.shared_per_hour - cost.alone_per_hour;
    const char* cheaper = difference < -1e-9 ? "shared" : difference > 1e-9 ? "exclusive" : "equal";
    rows.push_back({{"tokens_per_second", cost.tokens_per_second},
                    {"parts", cost.parts},
                    {"shared_cost_per_hour", cost.shared_per_hour},
                    {"gpus", cost.gpus},
                    {"exclusive_cost_per_hour", cost.alone_per_hour},
                    {"shared_cost_per_million_tokens", cost.shared_per_million},
                    {"exclusive_cost_per_million_tokens", cost.alone_per_million},
                    {"cheaper", cheaper}});
    table.rows.push_back({Cell(fmt::format("{:.6g}", cost.tokens_per_second)),
                          std::to_string(cost.parts), MoneyCell(cost.shared_per_hour, currency),
                          std::to_string(cost.gpus), MoneyCell(cost.alone_per_hour, currency),
                          MoneyCell(cost.shared_per_million, currency),
                          MoneyCell(cost.alone_per_million, currency), cheaper});
  };
  if (at) {
    add(*at);
  } else {
    for (int part = 1; part <= std::min(ask.tenants, 16); ++part)
      add(CostAtTraffic(ask, part * ask.shared_tokens_per_second));
    if (ask.tenants * ask.shared_tokens_per_second < ask.tokens_per_second)
      add(CostAtTraffic(ask, ask.tokens_per_second));
  }
  json["traffic"] = std::move(rows);
  answer.blocks.emplace_back(std::move(table));
  return answer;
}

}  // namespace tranche
