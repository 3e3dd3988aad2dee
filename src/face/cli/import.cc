#include "stage/import/import.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "base/suggest.h"
#include "face/cli/context.h"
#include "face/cli/files.h"
#include "face/cli/target_machine.h"
#include "face/cli/verb.h"
#include "stage/request/parser.h"

namespace tranche {
namespace {

constexpr size_t kLargestFile = size_t{16} << 20;

std::string Place(const std::string& file, int line, int column) {
  if (line == 0) return file;
  return column == 0 ? fmt::format("{}:{}", file, line)
                     : fmt::format("{}:{}:{}", file, line, column);
}

// All of them in one, as for specs.
Error ErrorOf(const std::vector<ImportMistake>& mistakes, const std::string& file) {
  std::string all;
  for (const ImportMistake& mistake : mistakes) {
    all += Place(file, mistake.line, mistake.column) + ": " + mistake.message + "\n";
    if (!mistake.hint.empty()) all += "    " + mistake.hint + "\n";
  }
  all += fmt::format("{} {} in {}; nothing was imported", mistakes.size(),
                     mistakes.size() == 1 ? "mistake" : "mistakes", file);
  return {ErrorCode::kInvalid, all};
}

Answer ViewImported(const Imported& imported) {
  Answer answer;
  Json notes = Json::array();
  Table table;
  table.columns = {{"line", "LINE"}, {"what", "WHAT"}, {"why", "WHY"}};
  for (const ImportNote& note : imported.notes) {
    Json one = {{"what", note.what}, {"why", note.why}};
    if (note.line > 0) one["line"] = note.line;
    notes.push_back(std::move(one));
    table.rows.push_back(
        {{note.line > 0 ? fmt::format("{}", note.line) : ""}, {note.what}, {note.why}});
  }
  answer.json = {{"format_version", "1.0"},
                 {"formats", imported.formats},
                 {"spec", imported.spec},
                 {"ignored", notes},
                 {"other_configurations", imported.others}};
  if (!imported.config.empty()) answer.json["configuration"] = imported.config;
  answer.blocks.push_back(imported.spec);
  answer.csv = std::move(table);
  return answer;
}

class ImportVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "import",
        "Reads what other tools keep about shared GPUs, and prints it as a spec",
        {"tranche import time-slicing-config.yaml > spec.yaml",
         "tranche import mig-parted.yaml --config all-balanced --gpu H100-SXM5-80GB:8",
         "tranche import pods.yaml -o json | jq .ignored"},
        "Reads configurations of NVIDIA's device plugin and of mig-parted, ConfigMaps that hold "
        "them, Kubernetes pods\n"
        "(also with HAMi's resources) and what makes pods, resource claims with NVIDIA's "
        "GpuConfig, and MPS v3 TOML.\n"
        "Which it is, it finds by itself. What the spec does not say is told on stderr, with "
        "-o json under `ignored`."};
  }

  const char* text_format() const override { return "spec"; }

  void Declare(Arguments& arguments) override {
    arguments.Positional("FILE", file_, "what to read; - for standard input", true)
        .Option("--format", "FORMAT", options_.format,
                "force one: device-plugin, mig-parted, kubernetes or mps")
        .Option("--config", "NAME", options_.config, "of a file with several configurations")
        .Option("--gpu", "MODEL[:COUNT]", gpu_, "the GPUs that it is meant for")
        .Option("--machine", "FILE", machine_file_, "likewise, a saved machine")
        .Flag("--hold", options_.hold,
              "let each slice be held by a program that does nothing, so that it can be applied");
  }

  Result<int> Run(Context& context) override {
    if (const auto& known = ImportFormats();
        !options_.format.empty() &&
        std::find(known.begin(), known.end(), options_.format) == known.end()) {
      const std::string meant = DidYouMean(options_.format, known);
      return Fail(ErrorCode::kInvalid, "unknown format '" + options_.format + "'",
                  meant.empty() ? fmt::format("one of {}", fmt::join(known, ", ")) : meant);
    }
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    std::optional<Machine> machine;
    if (!gpu_.empty() || !machine_file_.empty()) {
      auto meant = TargetMachine(gpu_, machine_file_, **catalog);
      if (!meant) return tl::unexpected<Error>(meant.error());
      machine = *std::move(meant);
      options_.machine = &*machine;
    }
    const auto text = ReadWholeFile(file_, kLargestFile);
    if (!text) return tl::unexpected<Error>(text.error());
    const std::string name = file_ == "-" ? "<stdin>" : file_;
    const auto imported = Import(*text, name, options_, **catalog);
    if (!imported) return tl::unexpected<Error>(ErrorOf(imported.error(), name));
    if (const auto spec = ParseSpec(imported->spec, "the spec", "/", **catalog); !spec) {
      return Fail(ErrorCode::kInvalid, fmt::format("{} cannot be said as a spec: {}", name,
                                                   FormatDiagnostic(spec.error().front())));
    }
    context.Print(ViewImported(*imported));
    for (const ImportNote& note : imported->notes) {
      context.Say(fmt::format("{}: {}: {}", Place(name, note.line, 0), note.what, note.why));
    }
    return 0;
  }

 private:
  std::string file_;
  std::string gpu_;
  std::string machine_file_;
  ImportOptions options_;
};

}  // namespace

std::unique_ptr<Verb> MakeImportVerb() { return std::make_unique<ImportVerb>(); }

}  // namespace tranche
