#include "face/cli/simulate_view.h"

#include <fmt/format.h>

#include <algorithm>

namespace tranche {
namespace {

Cell NumberCell(double value, int decimals) {
  return {fmt::format("{:.{}f}", value, decimals), fmt::format("{}", value)};
}

// Those of each number of GPUs that found no room, as shares; of none that never came.
Json RefusedByGpus(const simulate::PolicyOutcome& outcome) {
  Json refused = Json::object();
  for (size_t gpus = 0; gpus < outcome.asked_by_gpus.size(); ++gpus) {
    if (outcome.asked_by_gpus[gpus] <= 0) continue;
    refused[gpus == 0 ? "share" : std::to_string(gpus)] =
        100 * outcome.refused_by_gpus[gpus] / outcome.asked_by_gpus[gpus];
  }
  return refused;
}

}  // namespace

Answer ViewComparison(const simulate::Fleet& fleet, const std::vector<simulate::TracePod>& pods,
                      const simulate::CompareOptions& options,
                      const std::vector<simulate::PolicyOutcome>& outcomes) {
  int gpus = 0;
  for (const auto& node : fleet.nodes) gpus += node.gpus;
  Answer answer;
  answer.json = {{"format_version", "1.0"},
                 {"nodes", fleet.nodes.size()},
                 {"gpus", gpus},
                 {"pods", pods.size()},
                 {"seeds", options.seeds},
                 {"inflate", options.load},
                 {"departures", options.departures},
                 {"repack", options.repack},
                 {"policies", Json::array()}};
  Table table;
  table.title =
      fmt::format("{} nodes with {} GPUs, {:g} times asked for{}, {} seed{}", fleet.nodes.size(),
                  gpus, options.load, options.departures ? ", coming and going" : "",
                  options.seeds.size(), options.seeds.size() == 1 ? "" : "s");
  table.columns = {{"policy", "POLICY"},
                   {"allocation_percent_mean", "ALLOCATED %", Align::kRight},
                   {"allocation_percent_sd", "+-", Align::kRight},
                   {"fragmentation_percent_mean", "FRAGMENTED %", Align::kRight},
                   {"cpu_only_placed_mean", "CPU-ONLY PLACED", Align::kRight},
                   {"placed_mean", "PLACED", Align::kRight, true},
                   {"refused_mean", "REFUSED", Align::kRight, true},
                   {"moved_mean", "MOVED", Align::kRight, true},
                   {"seconds", "SECONDS", Align::kRight},
                   {"placements_per_second", "PER SECOND", Align::kRight, true}};
  for (const simulate::PolicyOutcome& outcome : outcomes) {
    answer.json["policies"].push_back(
        {{"policy", outcome.policy},
         {"allocation_percent_mean", outcome.allocation_percent.mean},
         {"allocation_percent_sd", outcome.allocation_percent.sd},
         {"fragmentation_percent_mean", outcome.fragmentation_percent},
         {"cpu_only_placed_mean", outcome.cpu_only_placed},
         {"placed_mean", outcome.placed},
         {"refused_mean", outcome.refused},
         {"refused_percent_by_gpus", RefusedByGpus(outcome)},
         {"moved_mean", outcome.moved},
         {"seconds", outcome.seconds},
         {"placements_per_second", outcome.placements_per_second}});
    table.rows.push_back(
        {outcome.policy, NumberCell(outcome.allocation_percent.mean, 2),
         NumberCell(outcome.allocation_percent.sd, 2), NumberCell(outcome.fragmentation_percent, 2),
         NumberCell(outcome.cpu_only_placed, 0), NumberCell(outcome.placed, 0),
         NumberCell(outcome.refused, 0), NumberCell(outcome.moved, 0),
         NumberCell(outcome.seconds, 3), NumberCell(outcome.placements_per_second, 0)});
  }
  answer.blocks.emplace_back(std::move(table));
  return answer;
}

Answer ViewTimelines(const simulate::Fleet& fleet, size_t workloads,
                     const std::vector<simulate::NamedTimeline>& timelines) {
  const auto known = [](const std::optional<double>& value, int decimals) {
    return value ? NumberCell(*value, decimals) : Cell();
  };
  Answer answer;
  answer.json = {{"format_version", "1.0"},
                 {"nodes", fleet.nodes.size()},
                 {"workloads", workloads},
                 {"policies", Json::array()}};
  Table table;
  table.title = fmt::format("{} workloads on {} nodes", workloads, fleet.nodes.size());
  table.columns = {{"policy", "POLICY"},
                   {"allocation_percent_mean", "ALLOCATED %", Align::kRight},
                   {"finished", "FINISHED", Align::kRight},
                   {"gave_up", "GAVE UP", Align::kRight},
                   {"restarted", "RESTARTED", Align::kRight},
                   {"preempted", "PREEMPTED", Align::kRight},
                   {"renewed", "RENEWED", Align::kRight, true},
                   {"lost_gpu_hours", "GPU HOURS LOST", Align::kRight, true},
                   {"wait_seconds_mean", "MEAN WAIT S", Align::kRight},
                   {"wait_seconds_p95", "95 % WAIT S", Align::kRight},
                   {"slo_misses", "SLO MISSES", Align::kRight},
                   {"cost", "COST", Align::kRight},
                   {"energy_kwh", "KWH", Align::kRight}};
  Table samples;
  samples.columns = {{"policy", ""},
                     {"at_seconds", ""},
                     {"allocation_percent", ""},
                     {"fragmentation_percent", ""},
                     {"running", ""},
                     {"waiting", ""},
                     {"nodes_down", ""},
                     {"gpus_down", ""},
                     {"slo_misses", ""},
                     {"wait_seconds", ""},
                     {"cost", ""},
                     {"energy_kwh", ""}};
  for (const auto& [policy, result] : timelines) {
    Json series = Json::array();
    for (const simulate::TimelineSample& sample : result.samples) {
      Json point = {{"at_seconds", sample.at},
                    {"allocation_percent", sample.allocation_percent},
                    {"fragmentation_percent", sample.fragmentation_percent},
                    {"running", sample.running},
                    {"waiting", sample.waiting},
                    {"nodes_down", sample.nodes_down},
                    {"gpus_down", sample.gpus_down},
                    {"slo_misses", sample.slo_misses}};
      if (sample.wait_seconds) point["wait_seconds"] = *sample.wait_seconds;
      if (sample.cost) point["cost"] = *sample.cost;
      if (sample.energy_kwh) point["energy_kwh"] = *sample.energy_kwh;
      series.push_back(std::move(point));
      samples.rows.push_back(
          {policy, NumberCell(sample.at, 0), NumberCell(sample.allocation_percent, 2),
           NumberCell(sample.fragmentation_percent, 2), std::to_string(sample.running),
           std::to_string(sample.waiting), std::to_string(sample.nodes_down),
           std::to_string(sample.gpus_down), std::to_string(sample.slo_misses),
           known(sample.wait_seconds, 1), known(sample.cost, 2), known(sample.energy_kwh, 2)});
    }
    Json totals = {{"policy", policy},
                   {"allocation_percent_mean", result.allocation_percent_mean},
                   {"duration_seconds", result.duration},
                   {"started", result.started},
                   {"finished", result.finished},
                   {"gave_up", result.gave_up},
                   {"never_fits", result.never_fits},
                   {"restarted", result.restarted},
                   {"preempted", result.preempted},
                   {"renewed", result.renewed},
                   {"lost_gpu_hours", result.lost_gpu_hours},
                   {"wait_seconds_mean", result.wait_mean},
                   {"wait_seconds_p95", result.wait_p95},
                   {"wait_seconds_most", result.wait_most},
                   {"slo_misses", result.slo_misses}};
    if (result.cost) totals["cost"] = *result.cost;
    if (result.energy_kwh) totals["energy_kwh"] = *result.energy_kwh;
    totals["timeline"] = std::move(series);
    answer.json["policies"].push_back(std::move(totals));
    table.rows.push_back({policy, NumberCell(result.allocation_percent_mean, 2),
                          std::to_string(result.finished), std::to_string(result.gave_up),
                          std::to_string(result.restarted), std::to_string(result.preempted),
                          std::to_string(result.renewed), NumberCell(result.lost_gpu_hours, 1),
                          NumberCell(result.wait_mean, 1), NumberCell(result.wait_p95, 1),
                          std::to_string(result.slo_misses), known(result.cost, 2),
                          known(result.energy_kwh, 1)});
  }
  answer.blocks.emplace_back(std::move(table));
  answer.csv = std::move(samples);
  return answer;
}

Answer ViewCapacity(const simulate::Fleet& kinds, const CapacityView& asked,
                    const simulate::CapacityFindings& findings) {
  const auto name = [&](const placement::NodeShape& shape) {
    if (shape.gpus == 0) return fmt::format("[{} cores]", shape.cpu_milli / 1000);
    return fmt::format("[{} {}, {} cores]", shape.gpus,
                       kinds.models[static_cast<size_t>(shape.model)], shape.cpu_milli / 1000);
  };
  Answer answer;
  answer.json = {{"format_version", "1.0"},    {"workloads", asked.workloads},
                 {"policy", asked.policy},     {"may_miss", asked.target.may_miss},
                 {"currency", asked.currency}, {"answers", Json::array()},
                 {"none", Json::array()}};
  if (asked.wait_slo) answer.json["wait_slo_seconds"] = *asked.wait_slo;
  if (asked.target.most_allocation) answer.json["max_allocation"] = *asked.target.most_allocation;
  Table table;
  table.title = fmt::format("What holds {} workloads, the cheapest first", asked.workloads);
  table.columns = {{"nodes", "NODES"},
                   {"gpus", "GPUS", Align::kRight},
                   {"cost_per_hour", "COST/H", Align::kRight},
                   {"missed_percent", "MISSED %", Align::kRight},
                   {"missed_percent_with_less", "ONE NODE LESS", Align::kRight},
                   {"allocation_percent_mean", "ALLOCATED %", Align::kRight},
                   {"wait_seconds_p95", "95 % WAIT S", Align::kRight}};
  for (const simulate::CapacityAnswer& found : findings.answers) {
    Json nodes = Json::array();
    std::string words;
    for (const simulate::NodeCount& kind : found.nodes) {
      nodes.push_back({{"count", kind.count},
                       {"gpu", kinds.models[static_cast<size_t>(kind.shape.model)]},
                       {"gpus_per_node", kind.shape.gpus},
                       {"cpu_milli", kind.shape.cpu_milli},
                       {"memory_mib", kind.shape.memory_mib}});
      words += fmt::format("{}{} x {}", words.empty() ? "" : " + ", kind.count, name(kind.shape));
    }
    Json json = {{"nodes", std::move(nodes)},
                 {"gpus", found.gpus},
                 {"mixed", found.mixed},
                 {"missed_percent", 100 * found.missed_share},
                 {"allocation_percent_mean", found.result.allocation_percent_mean},
                 {"wait_seconds_mean", found.result.wait_mean},
                 {"wait_seconds_p95", found.result.wait_p95},
                 {"slo_misses", found.result.slo_misses}};
    if (found.cost_per_hour) json["cost_per_hour"] = *found.cost_per_hour;
    if (found.missed_share_with_less) {
      json["missed_percent_with_one_node_less"] = 100 * *found.missed_share_with_less;
    }
    if (found.result.energy_kwh) json["energy_kwh"] = *found.result.energy_kwh;
    answer.json["answers"].push_back(std::move(json));
    table.rows.push_back(
        {words, std::to_string(found.gpus),
         found.cost_per_hour ? NumberCell(*found.cost_per_hour, 2) : Cell(),
         NumberCell(100 * found.missed_share, 2),
         found.missed_share_with_less ? NumberCell(100 * *found.missed_share_with_less, 2) : Cell(),
         NumberCell(found.result.allocation_percent_mean, 1),
         NumberCell(found.result.wait_p95, 1)});
  }
  std::string none;
  for (const simulate::CapacityNo& no : findings.none) {
    answer.json["none"].push_back({{"gpu", kinds.models[static_cast<size_t>(no.shape.model)]},
                                   {"gpus_per_node", no.shape.gpus},
                                   {"cpu_milli", no.shape.cpu_milli},
                                   {"memory_mib", no.shape.memory_mib},
                                   {"because", no.because}});
    none += fmt::format("not with {} alone: {}\n", name(no.shape), no.because);
  }
  if (!findings.answers.empty()) answer.blocks.emplace_back(std::move(table));
  if (!none.empty()) answer.blocks.emplace_back(none);
  return answer;
}

Answer ViewServings(const ServingsAnswer& servings) {
  const auto known = [](const std::optional<double>& value, int decimals) {
    return value ? NumberCell(*value, decimals) : Cell();
  };
  const auto spread = [](const simulate::Spread& of) {
    return Json{{"mean", of.mean}, {"p50", of.p50}, {"p95", of.p95}, {"p99", of.p99}};
  };
  Answer answer;
  answer.json = {{"format_version", "1.0"},
                 {"model", servings.model},
                 {"requests", servings.requests},
                 {"seconds", servings.seconds},
                 {"requests_per_second",
                  static_cast<double>(servings.requests) / std::max(1e-9, servings.seconds)},
                 {"speed_error", servings.error},
                 {"coefficients", servings.coefficients},
                 {"currency", servings.currency},
                 {"servers", Json::array()},
                 {"none", Json::array()}};
  if (servings.find_capacity) answer.json["may_miss"] = servings.may_miss;
  Table table;
  table.title = fmt::format("{} requests to {} in {:.0f} s{}", servings.requests, servings.model,
                            servings.seconds,
                            servings.find_capacity ? ": what holds them, the cheapest first" : "");
  table.columns = {{"servers", "SERVERS"},
                   {"gpus", "GPUS", Align::kRight},
                   {"cost_per_hour", "COST/H", Align::kRight},
                   {"first_token_p95", "95 % FIRST TOKEN S", Align::kRight},
                   {"token_p95", "95 % PER TOKEN S", Align::kRight},
                   {"wait_p95", "95 % WAIT S", Align::kRight, true},
                   {"missed_percent", "MISSED %", Align::kRight},
                   {"missed_percent_with_less", "ONE LESS", Align::kRight, !servings.find_capacity},
                   {"tokens_per_second", "TOKENS/S", Align::kRight},
                   {"busy_percent", "BUSY %", Align::kRight},
                   {"cost_per_million_tokens", "COST/1M", Align::kRight},
                   {"energy_kwh", "KWH", Align::kRight, true}};
  Table samples;
  for (const char* name :
       {"servers", "at_seconds", "running", "waiting", "replicas_down", "busy_percent",
        "tokens_per_second", "first_token_seconds", "slo_misses", "cost", "energy_kwh"}) {
    samples.columns.push_back({name, ""});
  }
  std::string none;
  for (const ServingRow& row : servings.rows) {
    if (!row.none.empty()) {
      answer.json["none"].push_back({{"gpu", row.name}, {"because", row.none}});
      none += fmt::format("not on {}: {}\n", row.name, row.none);
      continue;
    }
    const simulate::ServingResult& result = row.result;
    Json series = Json::array();
    for (const simulate::ServingSample& sample : result.samples) {
      Json point = {{"at_seconds", sample.at},
                    {"running", sample.running},
                    {"waiting", sample.waiting},
                    {"replicas_down", sample.replicas_down},
                    {"busy_percent", sample.busy_percent},
                    {"tokens_per_second", sample.tokens_per_second},
                    {"slo_misses", sample.slo_misses}};
      if (sample.first_token_seconds) point["first_token_seconds"] = *sample.first_token_seconds;
      if (sample.cost) point["cost"] = *sample.cost;
      if (sample.energy_kwh) point["energy_kwh"] = *sample.energy_kwh;
      series.push_back(std::move(point));
      samples.rows.push_back(
          {row.name, NumberCell(sample.at, 1), std::to_string(sample.running),
           std::to_string(sample.waiting), std::to_string(sample.replicas_down),
           NumberCell(sample.busy_percent, 1), NumberCell(sample.tokens_per_second, 1),
           known(sample.first_token_seconds, 4), std::to_string(sample.slo_misses),
           known(sample.cost, 4), known(sample.energy_kwh, 4)});
    }
    Json json = {{"gpu", row.name},
                 {"replicas", row.replicas},
                 {"gpus", result.gpus},
                 {"sequences_per_replica", row.most_sequences},
                 {"kv_tokens_per_replica", row.kv_tokens},
                 {"finished", result.finished},
                 {"too_long", result.too_long},
                 {"restarted", result.restarted},
                 {"slo_misses", result.slo_misses},
                 {"missed_percent", 100 * result.missed_share()},
                 {"wait_seconds", spread(result.wait)},
                 {"first_token_seconds", spread(result.first_token)},
                 {"token_seconds", spread(result.token)},
                 {"tokens_per_second", result.tokens_per_second},
                 {"busy_percent", result.busy_percent},
                 {"duration_seconds", result.duration}};
    if (row.cost_per_hour) json["cost_per_hour"] = *row.cost_per_hour;
    if (row.missed_share_with_less) {
      json["missed_percent_with_one_replica_less"] = 100 * *row.missed_share_with_less;
    }
    if (result.cost) json["cost"] = *result.cost;
    if (result.cost_per_million_tokens) {
      json["cost_per_million_tokens"] = *result.cost_per_million_tokens;
    }
    if (result.energy_kwh) json["energy_kwh"] = *result.energy_kwh;
    json["timeline"] = std::move(series);
    answer.json["servers"].push_back(std::move(json));
    table.rows.push_back(
        {fmt::format("{} x {}", row.replicas, row.name), std::to_string(result.gpus),
         known(row.cost_per_hour, 2), NumberCell(result.first_token.p95, 3),
         NumberCell(result.token.p95, 4), NumberCell(result.wait.p95, 3),
         NumberCell(100 * result.missed_share(), 2),
         row.missed_share_with_less ? NumberCell(100 * *row.missed_share_with_less, 2) : Cell(),
         NumberCell(result.tokens_per_second, 0), NumberCell(result.busy_percent, 1),
         known(result.cost_per_million_tokens, 3), known(result.energy_kwh, 2)});
  }
  if (!table.rows.empty()) answer.blocks.emplace_back(std::move(table));
  if (!none.empty()) answer.blocks.emplace_back(none);
  answer.blocks.emplace_back(
      fmt::format("speeds are predicted with {} and may be off by {:.0f} %\n",
                  servings.coefficients, 100 * servings.error));
  answer.csv = std::move(samples);
  return answer;
}

}  // namespace tranche
