#include "face/cli/advise_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "base/json.h"

namespace tranche {
namespace {

std::string Chosen(const Advice& advice) {
  if (!advice.mechanism) return "no mechanism";
  std::string text = MechanismName(*advice.mechanism);
  if (!advice.profile.empty()) text += " " + advice.profile;
  if (advice.gpus > 1) text += fmt::format(" x {}", advice.gpus);
  return text;
}

// "mig_backed" as a person reads it.
std::string Word(std::string answer) {
  std::replace(answer.begin(), answer.end(), '_', ' ');
  return answer;
}

Json StepJson(const AdviceStep& step) {
  Json json = {{"question", step.question}, {"answer", step.answer}, {"because", step.because}};
  json["name"] = step.name;
  json["source"] = step.source;
  if (step.trapped) json["trap"] = true;
  return json;
}

Json AdviceJson(const AdviceAsk& ask, const Advice& advice, const std::string& need_text) {
  Json json = {{"format_version", "1.0"},
               {"gpu", ask.gpu->key},
               {"kind", WorkloadKindName(ask.kind)},
               {"isolation", ask.isolation}};
  // null says that there is none, which is known; what is not known is absent.
  json["mechanism"] = advice.mechanism ? Json(MechanismName(*advice.mechanism)) : Json(nullptr);
  json["profile"] = advice.profile.empty() ? Json(nullptr) : Json(advice.profile);
  if (advice.mechanism) {
    json["gpus"] = advice.gpus;
    if (advice.memory) json["memory_bytes"] = advice.memory->value;
    if (!need_text.empty()) json["memory_because"] = need_text;
    if (advice.tenants_per_gpu) json["tenants_per_gpu"] = *advice.tenants_per_gpu;
    json["accepts"] = advice.accept;
    json["billing"] = advice.spot ? "spot" : "on-demand";
    json["billing_because"] = advice.billing_because;
  }
  json["path"] = Json::array();
  for (const AdviceStep& step : advice.path) json["path"].push_back(StepJson(step));
  json["rejected"] = Json::array();
  for (const AdviceRejection& rejection : advice.rejected) {
    Json item = {{"mechanism", MechanismName(rejection.mechanism)}, {"because", rejection.because}};
    if (!rejection.question.empty()) item["question"] = rejection.question;
    json["rejected"].push_back(std::move(item));
  }
  json["notes"] = advice.notes;
  return json;
}

std::string Names(const std::vector<Mechanism>& mechanisms) {
  std::string names;
  for (const Mechanism mechanism : mechanisms)
    names += (names.empty() ? "" : ", ") + std::string(MechanismName(mechanism));
  return names;
}

// What one answer ruled out that nothing before it had.
std::vector<Mechanism> RuledOutBy(const Advice& advice, const AdviceStep& step) {
  std::vector<Mechanism> mechanisms;
  for (const AdviceRejection& rejection : advice.rejected) {
    if (rejection.question == step.name) mechanisms.push_back(rejection.mechanism);
  }
  return mechanisms;
}

// `text` in lines of at most `width`, each after `indent`.
std::string Wrapped(const std::string& text, const std::string& indent, int width) {
  std::string out, line;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const bool full = width > 0 && !line.empty() &&
                      DisplayWidth(indent) + DisplayWidth(line) + 1 + DisplayWidth(word) > width;
    if (full) {
      out += indent + line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return line.empty() ? out : out + indent + line + "\n";
}

std::string Tree(const Advice& advice, const std::string& need_text, bool wide,
                 const Terminal& terminal) {
  const std::string trunk = "  |    ", twig = "       ";
  std::string out;
  for (const AdviceStep& step : advice.path) {
    const auto ruled_out = RuledOutBy(advice, step);
    out += "  |- " + step.question + " " +
           terminal.Paint(ruled_out.empty() ? Style::kCyan : Style::kYellow, Word(step.answer)) +
           "\n";
    out += Wrapped(step.because, trunk, terminal.width());
    if (!ruled_out.empty())
      out += trunk + terminal.Paint(Style::kYellow, "rules out " + Names(ruled_out)) + "\n";
    if (wide) out += trunk + terminal.Paint(Style::kDim, "[" + step.source + "]") + "\n";
  }
  out += "  `- " + terminal.Paint(advice.mechanism ? Style::kGreen : Style::kRed, Chosen(advice)) +
         "\n";
  if (!advice.mechanism) return out;
  if (advice.memory) {
    out += Wrapped(fmt::format("needs {}{}{}", FormatBytes(*advice.memory),
                               advice.gpus > 1 ? " on each GPU" : "",
                               need_text.empty() ? "" : ": " + need_text),
                   twig, terminal.width());
  }
  if (advice.tenants_per_gpu && *advice.mechanism != Mechanism::kExclusive) {
    out += fmt::format("{}{} such {} on one GPU\n", twig, *advice.tenants_per_gpu,
                       *advice.tenants_per_gpu == 1 ? "workload" : "workloads");
  }
  out += Wrapped("you accept: " + advice.accept, twig, terminal.width());
  if (advice.spot) out += Wrapped("on spot: " + advice.billing_because, twig, terminal.width());
  for (const std::string& note : advice.notes)
    out += Wrapped("note: " + note, twig, terminal.width());
  return out;
}

// One row per reason: mechanisms that share one stand together.
Table NotTable(const Advice& advice) {
  Table table;
  table.columns = {{"mechanism", "NOT"}, {"because", "BECAUSE"}};
  for (const AdviceRejection& rejection : advice.rejected) {
    const auto same = std::find_if(
        table.rows.begin(), table.rows.end(),
        [&rejection](const std::vector<Cell>& row) { return row[1].text == rejection.because; });
    if (same == table.rows.end())
      table.rows.push_back({MechanismName(rejection.mechanism), rejection.because});
    else
      (*same)[0].text += std::string(", ") + MechanismName(rejection.mechanism);
  }
  return table;
}

std::string WhyNotText(const Advice& advice, const WhyNot& why) {
  const char* name = MechanismName(why.mechanism);
  if (advice.mechanism == why.mechanism) return fmt::format("\n{} is what is advised.\n", name);
  std::string out = fmt::format("\nWhy not {}?\n", name);
  for (const AdviceStep& reason : why.reasons) {
    out += fmt::format("  - {} {}: {}\n", reason.question, Word(reason.answer), reason.because);
  }
  if (!why.reasons.empty()) return out;
  for (const AdviceRejection& rejection : advice.rejected) {
    if (rejection.mechanism == why.mechanism) out += fmt::format("  - {}\n", rejection.because);
  }
  return out;
}

}  // namespace

Answer ViewAdvice(const AdviceAsk& ask, const Advice& advice, const std::string& need_text,
                  const std::optional<WhyNot>& why_not, bool wide, const Terminal& terminal) {
  Answer answer;
  answer.json = AdviceJson(ask, advice, need_text);
  answer.blocks.emplace_back(fmt::format("{} on {}: {}\n", WorkloadKindName(ask.kind), ask.gpu->key,
                                         terminal.Paint(Style::kBold, Chosen(advice))));
  answer.blocks.emplace_back(Tree(advice, need_text, wide, terminal));
  if (why_not) {
    const bool advised = advice.mechanism == why_not->mechanism;
    Json reasons = Json::array();
    for (const AdviceStep& reason : why_not->reasons) reasons.push_back(StepJson(reason));
    std::string because;
    for (const AdviceRejection& rejection : advice.rejected) {
      if (rejection.mechanism == why_not->mechanism) because = rejection.because;
    }
    answer.json["why_not"] = {{"mechanism", MechanismName(why_not->mechanism)},
                              {"advised", advised},
                              {"because", advised ? "it is what is advised" : because},
                              {"reasons", std::move(reasons)}};
    answer.blocks.emplace_back(WhyNotText(advice, *why_not));
  }
  Table csv;
  csv.columns = {{"mechanism", "MECHANISM"}, {"advised", "ADVISED"}, {"because", "BECAUSE"}};
  if (advice.mechanism)
    csv.rows.push_back({MechanismName(*advice.mechanism), "true", advice.path.back().because});
  for (const AdviceRejection& rejection : advice.rejected)
    csv.rows.push_back({MechanismName(rejection.mechanism), "false", rejection.because});
  answer.csv = std::move(csv);
  if (!why_not) {
    answer.blocks.emplace_back(std::string("\n"));
    answer.blocks.emplace_back(NotTable(advice));
  }
  return answer;
}

Answer ViewAdviceRules(const AdviceRules& rules, const Terminal& terminal) {
  Answer answer;
  answer.json = {{"format_version", "1.0"}, {"questions", Json::array()}};
  std::string out;
  for (const AdviceQuestion& question : rules.questions()) {
    Json item = {{"name", question.name},
                 {"question", question.ask},
                 {"trap", question.trap},
                 {"source", question.source},
                 {"answers", Json::array()}};
    out += terminal.Paint(Style::kBold, question.name) + "  " + question.ask +
           (question.trap ? terminal.Paint(Style::kYellow, "  (trap)") : "") + "\n";
    for (const AdviceAnswer& known : question.answers) {
      const auto names = [](const std::vector<Mechanism>& mechanisms) {
        std::vector<std::string> list;
        for (const Mechanism mechanism : mechanisms) list.emplace_back(MechanismName(mechanism));
        return list;
      };
      const auto rejects = names(known.rejects);
      const auto choose = names(known.choose);
      Json row = {{"answer", known.answer}, {"because", known.because}, {"rejects", rejects}};
      if (known.then.empty())
        row["choose"] = choose;
      else
        row["then"] = known.then;
      item["answers"].push_back(std::move(row));
      const std::string next = !known.then.empty() ? "-> " + known.then
                               : choose.empty()
                                   ? "=> nothing"
                                   : fmt::format("=> first left of {}", fmt::join(choose, ", "));
      out += fmt::format("  {:<11} {}\n", Word(known.answer), next);
      if (!rejects.empty())
        out += fmt::format("              rules out {}\n", fmt::join(rejects, ", "));
      out += fmt::format("              {}\n", known.because);
    }
    answer.json["questions"].push_back(std::move(item));
  }
  out += "\nIn {braces}: filled in with the case at hand.\n";
  answer.blocks.emplace_back(std::move(out));
  return answer;
}

Error NothingSatisfies(const AdviceAsk& ask, const Advice& advice) {
  const std::string because = advice.path.empty() ? "" : ": " + advice.path.back().because;
  std::string hint = "take a larger GPU ('tranche catalog gpus')";
  if (ask.gpus == 1 && !ask.divisible)
    hint += ", or divide it: --tensor-parallel N, and --memory is then what each GPU holds";
  return {ErrorCode::kDoesNotFit,
          fmt::format("no mechanism on {} satisfies this{}", ask.gpu->key, because), hint};
}

}  // namespace tranche
