#include "catalog/advice_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "catalog/field_reader.h"

extern "C" {
extern const char catalog_advice_yaml[], catalog_advice_yaml_end[];
}

namespace tranche {
namespace {

using catalog::FieldReader;
using catalog::Mistakes;

using Sources = std::map<std::string, std::string>;

// {words} that nobody fills in would reach the reader as they are.
void CheckWords(const std::string& text, const YamlNode& at, Mistakes* mistakes) {
  for (size_t open = text.find('{'); open != std::string::npos; open = text.find('{', open + 1)) {
    const size_t close = text.find('}', open);
    const std::string word = close == std::string::npos ? text.substr(open + 1)
                                                        : text.substr(open + 1, close - open - 1);
    if (std::find(kAdviceWords.begin(), kAdviceWords.end(), word) == kAdviceWords.end())
      mistakes->Add(at, fmt::format("there is no word '{{{}}}'", word));
  }
}

std::vector<Mechanism> ReadMechanisms(const std::vector<std::string>& names, const YamlNode& at,
                                      Mistakes* mistakes) {
  std::vector<Mechanism> mechanisms;
  for (const std::string& name : names) {
    const auto mechanism = ParseMechanism(name);
    if (mechanism)
      mechanisms.push_back(*mechanism);
    else
      mistakes->Add(at, mechanism.error().message);
  }
  return mechanisms;
}

std::string ReadSource(FieldReader* fields, const Sources& sources) {
  const std::string key = fields->Text("source");
  const auto found = sources.find(key);
  if (found != sources.end()) return found->second;
  fields->Wrong("source", "is none of `sources`");
  return key;
}

AdviceAnswer ReadAnswer(const std::string& name, const YamlNode& node, Mistakes* mistakes) {
  AdviceAnswer answer;
  FieldReader fields(node, mistakes);
  answer.answer = name;
  answer.because = fields.Text("because");
  CheckWords(answer.because, node, mistakes);
  answer.rejects = ReadMechanisms(fields.TextsOrNone("rejects"), node, mistakes);
  const bool leaf = fields.Has("choose");
  answer.choose = ReadMechanisms(fields.TextsOrNone("choose"), node, mistakes);
  answer.then = fields.TextOr("then", "");
  if (leaf == !answer.then.empty()) fields.Wrong("needs either `then` or `choose`");
  return answer;
}

AdviceQuestion ReadQuestion(const std::string& name, const YamlNode& node, const Sources& sources,
                            Mistakes* mistakes) {
  AdviceQuestion question;
  FieldReader fields(node, mistakes);
  question.name = name;
  question.ask = fields.Text("ask");
  CheckWords(question.ask, node, mistakes);
  question.source = ReadSource(&fields, sources);
  question.trap = fields.Has("trap") && fields.Bool("trap");
  for (const auto& [key, value] : fields.Map("answers").members) {
    question.answers.push_back(ReadAnswer(key.scalar, value, mistakes));
  }
  return question;
}

// Every walk ends, and every question can be reached. Questions may only lead to later ones, so
// that the file reads as the walk goes.
void CheckTree(const std::vector<AdviceQuestion>& questions, const YamlNode& at,
               Mistakes* mistakes) {
  std::set<std::string> reached;
  for (size_t i = 0; i < questions.size(); ++i) {
    const AdviceQuestion& question = questions[i];
    if (i > 0 && reached.count(question.name) == 0)
      mistakes->Add(at, fmt::format("nothing leads to the question '{}'", question.name));
    if (question.answers.empty())
      mistakes->Add(at, fmt::format("the question '{}' has no answers", question.name));
    for (const AdviceAnswer& answer : question.answers) {
      if (answer.then.empty()) continue;
      reached.insert(answer.then);
      const bool later =
          std::any_of(questions.begin() + static_cast<std::ptrdiff_t>(i) + 1, questions.end(),
                      [&answer](const AdviceQuestion& other) { return other.name == answer.then; });
      if (!later) {
        mistakes->Add(at, fmt::format("'{}' of '{}' leads to '{}', which is no later question",
                                      answer.answer, question.name, answer.then));
      }
    }
  }
}

}  // namespace

const AdviceAnswer* AdviceQuestion::Find(std::string_view answer) const {
  for (const AdviceAnswer& known : answers) {
    if (known.answer == answer) return &known;
  }
  return nullptr;
}

Result<AdviceRules> AdviceRules::Load() {
  return Parse(
      {catalog_advice_yaml, static_cast<size_t>(catalog_advice_yaml_end - catalog_advice_yaml)});
}

Result<AdviceRules> AdviceRules::Parse(std::string_view text) {
  auto document = catalog::ParseData("advice.yaml", text);
  if (!document) return tl::unexpected<Error>(document.error());
  Mistakes mistakes("advice.yaml");
  AdviceRules rules;
  {
    FieldReader top(*document, &mistakes);
    Sources sources;
    for (const auto& [key, value] : top.Map("sources").members) {
      sources[key.scalar] = value.scalar;
    }
    for (const auto& [key, value] : top.Map("limits").members) {
      FieldReader fields(value, &mistakes);
      rules.limits_[key.scalar] = {fields.Number("value", 0, 1e9), ReadSource(&fields, sources)};
    }
    const YamlNode& questions = top.Map("questions");
    for (const auto& [key, value] : questions.members) {
      rules.questions_.push_back(ReadQuestion(key.scalar, value, sources, &mistakes));
    }
    CheckTree(rules.questions_, questions, &mistakes);
    if (rules.questions_.empty()) top.Wrong("questions", "asks nothing");
    FieldReader billing(top.Map("billing"), &mistakes);
    for (const auto& [key, target] :
         {std::pair("spot", &rules.spot_), std::pair("on-demand", &rules.on_demand_)}) {
      FieldReader fields(billing.Map(key), &mistakes);
      target->because = fields.Text("because");
      target->source = ReadSource(&fields, sources);
    }
    FieldReader leaves(top.Map("leaves"), &mistakes);
    for (const Mechanism mechanism : kAllMechanisms) {
      FieldReader fields(leaves.Map(MechanismName(mechanism)), &mistakes);
      AdviceLeaf& leaf = rules.leaves_[static_cast<size_t>(mechanism)];
      leaf.accept = fields.Text("accept");
      leaf.source = ReadSource(&fields, sources);
    }
  }
  if (!mistakes.empty()) return tl::unexpected<Error>(mistakes.status().error());
  return rules;
}

const AdviceQuestion* AdviceRules::Find(std::string_view name) const {
  for (const AdviceQuestion& question : questions_) {
    if (question.name == name) return &question;
  }
  return nullptr;
}

double AdviceRules::Limit(const std::string& name) const {
  const auto found = limits_.find(name);
  return found == limits_.end() ? 0 : found->second.value;
}

}  // namespace tranche
