#include "face/cli/simulate_view.h"

#include <fmt/format.h>

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
                     {"slo_misses", ""},
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
                    {"slo_misses", sample.slo_misses}};
      if (sample.cost) point["cost"] = *sample.cost;
      if (sample.energy_kwh) point["energy_kwh"] = *sample.energy_kwh;
      series.push_back(std::move(point));
      samples.rows.push_back(
          {policy, NumberCell(sample.at, 0), NumberCell(sample.allocation_percent, 2),
           NumberCell(sample.fragmentation_percent, 2), std::to_string(sample.running),
           std::to_string(sample.waiting), std::to_string(sample.nodes_down),
           std::to_string(sample.slo_misses), known(sample.cost, 2), known(sample.energy_kwh, 2)});
    }
    Json totals = {{"policy", policy},
                   {"allocation_percent_mean", result.allocation_percent_mean},
                   {"duration_seconds", result.duration},
                   {"started", result.started},
                   {"finished", result.finished},
                   {"gave_up", result.gave_up},
                   {"never_fits", result.never_fits},
                   {"restarted", result.restarted},
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
                          std::to_string(result.restarted), NumberCell(result.wait_mean, 1),
                          NumberCell(result.wait_p95, 1), std::to_string(result.slo_misses),
                          known(result.cost, 2), known(result.energy_kwh, 1)});
  }
  answer.blocks.emplace_back(std::move(table));
  answer.csv = std::move(samples);
  return answer;
}

}  // namespace tranche
