#include "stage/request/parser.h"

#include <fmt/format.h>

#include "stage/request/checks.h"
#include "stage/request/defaults.h"
#include "stage/request/fields.h"
#include "stage/request/mistakes.h"

namespace tranche {
namespace {

constexpr const char* kSmallestSpec =
    "the smallest spec: {version: 1, workloads: [{name: chat, model: llama-3.1-8b}]}";

// Far above any real spec (10,000 workloads of 400 bytes), far below what would hurt.
constexpr YamlLimits kSpecLimits = {size_t{4} << 20, 20, 300000};

// Whether the file is of this format at all. If not, one mistake says so, and no key is judged.
bool IsVersionOne(const YamlNode& root, Mistakes* mistakes) {
  if (root.IsNull()) {
    mistakes->AddAt(0, 0, "the file is empty", kSmallestSpec);
    return false;
  }
  if (!root.IsMap()) {
    mistakes->Add(root, fmt::format("the file is {}, not a spec", Describe(root)), kSmallestSpec);
    return false;
  }
  const YamlNode* version = root.Find("version");
  if (version == nullptr || !version->IsScalar() || version->scalar == "1") return true;
  if (ScalarKindOf(*version) != ScalarKind::kInteger) return true;
  mistakes->Add(*version,
                fmt::format("version {} of the spec is not known", Quoted(version->scalar)),
                "this Tranche reads version: 1");
  return false;
}

}  // namespace

tl::expected<Spec, std::vector<Diagnostic>> ParseSpec(std::string_view text,
                                                      const std::string& file,
                                                      const std::string& directory,
                                                      const Catalog& catalog) {
  Mistakes mistakes(file);
  std::vector<YamlError> duplicates;
  const auto root = ParseYaml(text, kSpecLimits, &duplicates);
  if (!root) {
    const YamlError& error = root.error();
    mistakes.AddAt(error.line, error.column, error.message, error.hint);
    return tl::unexpected(mistakes.Take());
  }
  for (const YamlError& error : duplicates) {
    mistakes.AddAt(error.line, error.column, error.message, error.hint);
  }
  if (!IsVersionOne(*root, &mistakes)) return tl::unexpected(mistakes.Take());

  ReadContext context{mistakes, catalog, directory};
  Spec spec = ReadFields(context, "the spec", *root, SpecFields());
  spec.directory = directory;
  for (size_t i = 0; i < spec.workloads.size(); ++i) {
    const YamlNode& node = root->Find("workloads")->items[i];
    if (node.IsMap()) FillInDefaults(node, spec, catalog, &spec.workloads[i]);
  }
  if (root->Find("workloads") == nullptr && root->Find("tiers") == nullptr) {
    mistakes.Add(*root, "the spec has no 'workloads'",
                 "add, for example, workloads: [{name: chat, model: llama-3.1-8b}]");
  }
  CheckSpec(context, *root, spec);
  if (!mistakes.empty()) return tl::unexpected(mistakes.Take());
  return spec;
}

}  // namespace tranche
