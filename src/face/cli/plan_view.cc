#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/json.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

Style StyleOf(Change change) {
  switch (change) {
    case Change::kCreate:
      return Style::kGreen;
    case Change::kKeep:
      return Style::kDim;
    case Change::kChange:
      return Style::kYellow;
    case Change::kDestroy:
      return Style::kRed;
  }
  return Style::kPlain;
}

Table PlacementTable(const Plan& plan) {
  Table table;
  table.title = "Placements";
  table.columns = {{"workload", "WORKLOAD"},
                   {"gpu_model", "GPU MODEL"},
                   {"slice", "SLICE"},
                   {"needed_bytes", "NEEDS", Align::kRight},
                   {"memory_bytes", "HOLDS", Align::kRight},
                   {"compute_fraction", "COMPUTE", Align::kRight},
                   {"guarantee", "GUARANTEE"},
                   {"cost_per_hour", "COST/H", Align::kRight},
                   {"team", "TEAM", Align::kLeft, true},
                   {"mechanism", "MECHANISM", Align::kLeft, true},
                   {"gpu_uuid", "GPU UUID", Align::kLeft, true}};
  for (const Assignment& a : plan.assignments) {
    table.rows.push_back(
        {fmt::format("{}/{}", a.workload, a.replica), a.gpu_model, SliceName(a.slice, a.gpu_index),
         Cell(FormatBytes(a.needed), std::to_string(a.needed.value)),
         Cell(FormatBytes(a.slice.memory), std::to_string(a.slice.memory.value)),
         Cell(FormatPercent(a.slice.compute_fraction), fmt::format("{}", a.slice.compute_fraction)),
         GuaranteesText(a.guarantee),
         a.cost_per_hour ? Cell(FormatMoney(*a.cost_per_hour, plan.spec.currency),
                                fmt::format("{}", *a.cost_per_hour))
                         : Cell(),
         a.team, MechanismName(a.slice.mechanism), a.slice.gpu_uuid});
  }
  return table;
}

std::string Interruptions(const Step& step) {
  std::string out;
  for (const Interruption& who : step.interrupts) {
    out += fmt::format("      ! interrupts pid {} ({}){}{}\n", who.pid, who.command,
                       who.user.empty() ? "" : " of user " + who.user,
                       who.container.empty() ? "" : " in container " + who.container);
  }
  return Printable(out, true);
}

std::string StepsText(const Plan& plan, const Terminal& terminal) {
  size_t width = 0;
  for (const Step& step : plan.steps) {
    width = std::max(width, static_cast<size_t>(DisplayWidth(Printable(step.target))));
  }
  std::string out = terminal.Paint(Style::kBold, "Steps") + "\n";
  for (const Step& step : plan.steps) {
    out += StepLine(step, width, terminal) + "\n" + Interruptions(step);
  }
  return out;
}

std::string ReasonsText(const Plan& plan, const std::string& workload = "") {
  std::string out;
  for (const Assignment& a : plan.assignments) {
    if (!workload.empty() && a.workload != workload) continue;
    out += fmt::format("{}/{} on {}\n", a.workload, a.replica, SliceName(a.slice, a.gpu_index));
    for (const std::string& reason : a.reasons) out += "  - " + reason + "\n";
    if (a.engine_flags.empty()) continue;
    out += "  - started with";
    for (const std::string& flag : a.engine_flags) out += " " + flag;
    out += "\n";
  }
  return Printable(out, true);
}

std::string UnplacedText(const Plan& plan, const Terminal& terminal) {
  std::string out = terminal.Paint(Style::kBold, "Does not fit") + "\n";
  for (const Unplaced& unplaced : plan.unplaced) {
    out +=
        "  " + terminal.Paint(Style::kRed, "x") + " " +
        Printable(fmt::format("{}/{}: {}", unplaced.workload, unplaced.replica, unplaced.reason)) +
        "\n";
    if (!unplaced.nearest.empty()) out += "    nearest: " + Printable(unplaced.nearest) + "\n";
  }
  return out;
}

// How far from the cheapest the plan can be at most.
std::string GapText(const Plan& plan) {
  if (!plan.cost_per_hour || !plan.cost_lower_bound_per_hour) return "";
  const double cost = *plan.cost_per_hour, bound = *plan.cost_lower_bound_per_hour;
  if (bound >= cost - 1e-9) return ", the least there is";
  return fmt::format(", at most {:.2g}% above the least there is ({} or more)",
                     100 * (cost - bound) / std::max(bound, 1e-9),
                     FormatMoney(bound, plan.spec.currency));
}

}  // namespace

std::string SliceName(const Slice& slice, int gpu_index) {
  std::string name = fmt::format("gpu{}", gpu_index);
  if (slice.mechanism == Mechanism::kMig && slice.placement) {
    return name + fmt::format(" {}@{}", slice.profile, slice.placement->start);
  }
  if (slice.placement) {
    return name +
           fmt::format(" {}@{} ({})", slice.profile, slice.placement->start,
                       slice.vgpu_type.empty() ? MechanismName(slice.mechanism) : slice.vgpu_type);
  }
  if (!slice.more_gpu_uuids.empty())
    name += fmt::format(" and {} more", slice.more_gpu_uuids.size());
  if (slice.mechanism == Mechanism::kVgpu) return name + " " + slice.vgpu_type;
  return name + fmt::format(" ({})", MechanismName(slice.mechanism));
}

std::string GuaranteesText(const Guarantees& guarantees) {
  const bool alike =
      guarantees.memory == guarantees.compute && guarantees.memory == guarantees.fault;
  if (alike && guarantees.access == guarantees.memory) return GuaranteeName(guarantees.memory);
  if (alike) {
    return fmt::format("{}, access {}", GuaranteeName(guarantees.memory),
                       GuaranteeName(guarantees.access));
  }
  return fmt::format("memory {}, compute {}, fault {}, access {}", GuaranteeName(guarantees.memory),
                     GuaranteeName(guarantees.compute), GuaranteeName(guarantees.fault),
                     GuaranteeName(guarantees.access));
}

std::string PlanTotals(const Plan& plan) {
  if (!plan.feasible()) {
    const size_t count = plan.unplaced.size();
    return fmt::format("Plan: {} of {} replicas {} not fit; nothing would be changed.", count,
                       count + plan.assignments.size(), count == 1 ? "does" : "do");
  }
  std::array<int, 4> counts{};
  for (const Step& step : plan.steps) ++counts[static_cast<size_t>(step.change)];
  std::string out = fmt::format(
      "Plan: {} to create, {} to keep, {} to change, {} to destroy.",
      counts[static_cast<size_t>(Change::kCreate)], counts[static_cast<size_t>(Change::kKeep)],
      counts[static_cast<size_t>(Change::kChange)], counts[static_cast<size_t>(Change::kDestroy)]);
  if (plan.cost_per_hour) {
    out += fmt::format(" Cost {} per hour{}.", FormatMoney(*plan.cost_per_hour, plan.spec.currency),
                       GapText(plan));
  } else if (!plan.assignments.empty()) {
    out += " Cost unknown.";
  }
  if (plan.peak_power_watts) out += fmt::format(" {:g} W at most.", *plan.peak_power_watts);
  return out;
}

std::string StepLine(const Step& step, size_t target_width, const Terminal& terminal) {
  const std::string target = Printable(step.target);
  const auto gap =
      static_cast<size_t>(std::max(0, static_cast<int>(target_width) - DisplayWidth(target)));
  std::string out =
      "  " + terminal.Paint(StyleOf(step.change), std::string(1, ChangeSymbol(step.change)));
  out += step.interrupts.empty() ? " " : terminal.Paint(Style::kRed, "!");
  out += " " + target;
  if (!step.why.empty())
    out += std::string(gap + 2, ' ') + terminal.Paint(Style::kDim, Printable(step.why));
  if (!step.reversible) out += terminal.Paint(Style::kYellow, " (cannot be undone)");
  return out;
}

Table TierTable(const std::vector<TierCapacity>& tiers) {
  Table table;
  table.title = "Tiers";
  table.columns = {{"tier", "TIER"},
                   {"gpus", "GPUS", Align::kRight},
                   {"slices", "SLICES", Align::kRight},
                   {"used", "USED", Align::kRight},
                   {"how", "HOW", Align::kLeft, false, true}};
  for (const TierCapacity& tier : tiers) {
    table.rows.push_back({tier.tier, std::to_string(tier.gpu_uuids.size()),
                          tier.slices ? Cell(std::to_string(*tier.slices)) : Cell(),
                          std::to_string(tier.used), tier.how});
  }
  return table;
}

std::string TierNotes(const std::vector<TierCapacity>& tiers) {
  std::string notes;
  for (const TierCapacity& tier : tiers) {
    for (const std::string& note : tier.notes) notes += fmt::format("  {}: {}\n", tier.tier, note);
  }
  return Printable(notes, true);
}

Answer ViewPlan(const Plan& plan, bool explain, const Terminal& terminal) {
  Answer answer;
  answer.json = ToJson(plan);
  const auto part = [&](Answer::Block block) {
    if (!answer.blocks.empty()) answer.blocks.emplace_back("\n");
    answer.blocks.push_back(std::move(block));
  };
  if (!plan.assignments.empty()) part(PlacementTable(plan));
  if (explain && !plan.assignments.empty()) part(ReasonsText(plan));
  if (!plan.tiers.empty()) {
    part(TierTable(plan.tiers));
    if (const std::string notes = TierNotes(plan.tiers); !notes.empty()) {
      answer.blocks.emplace_back(notes);
    }
  }
  if (!plan.unplaced.empty()) part(UnplacedText(plan, terminal));
  if (!plan.steps.empty()) part(StepsText(plan, terminal));
  if (!plan.notes.empty()) {
    std::string notes = terminal.Paint(Style::kBold, "Notes") + "\n";
    for (const std::string& note : plan.notes) notes += "  " + Printable(note) + "\n";
    part(notes);
  }
  std::string end;
  if (!plan.steps.empty()) {
    end = terminal.Paint(Style::kDim,
                         "+ create  = keep  ~ change  - destroy  ! interrupts running work") +
          "\n";
  }
  if (plan.feasible() && !plan.HasChanges())
    end += "No changes: the machine is as the spec asks.\n";
  part(end + PlanTotals(plan) + "\n");
  return answer;
}

Answer ViewAlternatives(const Plan& plan, const std::string& workload,
                        const std::vector<Alternative>& alternatives, const Terminal& terminal) {
  Answer answer;
  answer.json = ToJson(plan);
  answer.json["explained_workload"] = workload;
  answer.json["alternatives"] = Json::array();
  Table table;
  table.columns = {{"gpu", "GPU"},
                   {"mechanism", "MECHANISM"},
                   {"plan_cost_per_hour", "PLAN COST/H", Align::kRight},
                   {"because", "WHY NOT", Align::kLeft, false, true}};
  for (const Alternative& one : alternatives) {
    Json json = {{"gpu", one.gpu},
                 {"mechanism", MechanismName(one.mechanism)},
                 {"chosen", one.chosen},
                 {"because", one.because}};
    if (one.cost_per_hour) json["plan_cost_per_hour"] = *one.cost_per_hour;
    if (one.more_per_hour) json["more_per_hour"] = *one.more_per_hour;
    answer.json["alternatives"].push_back(std::move(json));
    table.rows.push_back({one.gpu, MechanismName(one.mechanism),
                          one.cost_per_hour
                              ? Cell(FormatMoney(*one.cost_per_hour, plan.spec.currency),
                                     fmt::format("{}", *one.cost_per_hour))
                              : Cell(""),
                          one.because});
  }
  const std::string reasons = ReasonsText(plan, workload);
  if (!reasons.empty()) answer.blocks.emplace_back(reasons + "\n");
  answer.blocks.emplace_back(std::move(table));
  if (!plan.unplaced.empty()) answer.blocks.emplace_back("\n" + UnplacedText(plan, terminal));
  return answer;
}

}  // namespace tranche
