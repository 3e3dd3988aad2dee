#include "stage/export/export.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "face/cli/context.h"
#include "face/cli/files.h"
#include "face/cli/plan_source.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

// Lines "gpu0/gi1/access 30"; nothing where there is no such file.
std::map<std::string, int> ReadMigMinors(const std::string& path) {
  std::map<std::string, int> minors;
  std::ifstream file(path);
  std::string name;
  int minor = 0;
  while (file >> name >> minor) minors[name] = minor;
  return minors;
}

Answer ViewExported(const std::string& format, const Exported& exported) {
  Answer answer;
  Json files = Json::array();
  for (const ExportFile& file : exported.files) {
    files.push_back({{"name", file.name}, {"text", file.text}, {"executable", file.executable}});
    // One after the other; of several each says what it is called.
    if (exported.files.size() > 1) {
      const bool yaml = file.name.find(".yaml") != std::string::npos;
      answer.blocks.push_back(
          fmt::format("{}# file: {}\n", yaml && !answer.blocks.empty() ? "---\n" : "", file.name));
    }
    answer.blocks.push_back(file.text);
  }
  answer.json = {{"format_version", "1.0"},
                 {"format", format},
                 {"files", files},
                 {"not_exported", exported.notes}};
  return answer;
}

Status WriteFiles(const std::string& directory, const std::vector<ExportFile>& files) {
  for (const ExportFile& file : files) {
    const std::filesystem::path path = std::filesystem::path(directory) / file.name;
    std::error_code error;
    std::filesystem::create_directories(path.parent_path(), error);
    if (error) {
      return Fail(ErrorCode::kFailed,
                  fmt::format("cannot make {}: {}", path.parent_path().string(), error.message()));
    }
    if (const Status wrote = WriteWholeFile(path.string(), file.text); !wrote) return wrote;
    if (file.executable) chmod(path.c_str(), 0755);
  }
  return {};
}

class ExportVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "export",
        "Says a plan in what other tools read: docker, systemd, Kubernetes, nginx, ...",
        {"tranche export shell -f spec.yaml", "tranche export kubernetes -f spec.yaml --out k8s",
         "tranche export nginx --plan plan.json > nginx.conf"},
        fmt::format("Formats: {}.\n"
                    "What a format cannot say is told on stderr and in the file. Where the "
                    "plan comes from is as for `plan`;\n"
                    "a plan file says neither the driver's profile ids nor device nodes, so "
                    "give --machine with it.",
                    fmt::join(ExportFormats(), ", "))};
  }

  const char* text_format() const override { return "text"; }

  void Declare(Arguments& arguments) override {
    arguments.Positional("FORMAT", format_, "what to write", true)
        .Option("-f,--file", "FILE", spec_file_, "the spec; - for standard input")
        .Option("--plan", "FILE", plan_file_, "a plan of 'tranche plan --out'")
        .Option("--machine", "FILE", machine_file_, "the machine, saved by 'inventory -o json'")
        .Option("--out", "DIR", directory_, "write the files there instead of on stdout");
  }

  Result<int> Run(Context& context) override {
    if (spec_file_.empty() == plan_file_.empty()) {
      return Fail(ErrorCode::kInvalid, "export needs a spec or a plan, and one of them only",
                  "tranche export shell -f spec.yaml");
    }
    const auto& formats = ExportFormats();
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    if (std::find(formats.begin(), formats.end(), format_) == formats.end()) {
      // Said before a plan is made.
      return tl::unexpected<Error>(Export(format_, {Plan{}, **catalog}).error());
    }
    auto source = FindPlan(context, **catalog);
    if (!source) return tl::unexpected<Error>(source.error());
    if (!source->note.empty()) context.Say(source->note);
    ExportInput input{source->plan, **catalog, source->machine ? &*source->machine : nullptr};
    if (machine_file_.empty() && source->machine && !source->machine->simulated_fleet) {
      input.mig_minors = ReadMigMinors("/proc/driver/nvidia-caps/mig-minors");
    }
    const auto exported = Export(format_, input);
    if (!exported) return tl::unexpected<Error>(exported.error());
    if (directory_.empty()) {
      context.Print(ViewExported(format_, *exported));
    } else {
      if (const Status wrote = WriteFiles(directory_, exported->files); !wrote) {
        return tl::unexpected<Error>(wrote.error());
      }
      if (context.structured()) context.Print(ViewExported(format_, *exported));
      for (const ExportFile& file : exported->files) {
        context.Say("Wrote " + (std::filesystem::path(directory_) / file.name).string() + ".");
      }
    }
    for (const std::string& note : exported->notes) context.Say("Not exported: " + note);
    return 0;
  }

 private:
  Result<PlanSource> FindPlan(Context& context, const Catalog& catalog) {
    if (!plan_file_.empty()) {
      auto plan = LoadPlan(plan_file_);
      if (!plan) return tl::unexpected<Error>(plan.error());
      PlanSource source{*std::move(plan), std::nullopt};
      auto machine =
          machine_file_.empty() ? MachineAtHand(context, catalog) : LoadMachine(machine_file_);
      if (!machine && !machine_file_.empty()) return tl::unexpected<Error>(machine.error());
      if (machine) source.machine = *std::move(machine);
      return source;
    }
    const auto spec = LoadSpec(spec_file_, catalog);
    if (!spec) return tl::unexpected<Error>(spec.error());
    return MakePlanFor(context, catalog, *spec, machine_file_, false);
  }

  std::string format_;
  std::string spec_file_;
  std::string plan_file_;
  std::string machine_file_;
  std::string directory_;
};

}  // namespace

std::unique_ptr<Verb> MakeExportVerb() { return std::make_unique<ExportVerb>(); }

}  // namespace tranche
