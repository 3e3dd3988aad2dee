#include "stage/export/export.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/suggest.h"
#include "stage/export/formats.h"

namespace tranche {
namespace {

using Exporter = void (*)(const ExportInput&, const exporting::Replicas&, Exported*);

const std::vector<std::pair<std::string, Exporter>>& Exporters() {
  static const std::vector<std::pair<std::string, Exporter>> kExporters = {
      {"shell", exporting::ExportShell},     {"compose", exporting::ExportCompose},
      {"systemd", exporting::ExportSystemd}, {"kubernetes", exporting::ExportKubernetes},
      {"mps", exporting::ExportMps},         {"triton", exporting::ExportTriton},
      {"vllm", exporting::ExportVllm},       {"nginx", exporting::ExportNginx},
      {"traefik", exporting::ExportTraefik}, {"libvirt", exporting::ExportLibvirt},
      {"cdi", exporting::ExportCdi}};
  return kExporters;
}

}  // namespace

const std::vector<std::string>& ExportFormats() {
  static const std::vector<std::string> kNames = [] {
    std::vector<std::string> names;
    for (const auto& [name, exporter] : Exporters()) names.push_back(name);
    return names;
  }();
  return kNames;
}

Result<Exported> Export(const std::string& format, const ExportInput& input) {
  const auto found = std::find_if(Exporters().begin(), Exporters().end(),
                                  [&](const auto& one) { return one.first == format; });
  if (found == Exporters().end()) {
    const std::string meant = DidYouMean(format, ExportFormats());
    return Fail(ErrorCode::kInvalid, fmt::format("unknown format '{}'", format),
                meant.empty() ? fmt::format("one of {}", fmt::join(ExportFormats(), ", ")) : meant);
  }
  if (!input.plan.feasible()) {
    const Unplaced& first = input.plan.unplaced.front();
    return Fail(ErrorCode::kDoesNotFit,
                fmt::format("{}/{} has no place in the plan: {}", first.workload, first.replica,
                            first.reason),
                first.nearest);
  }
  if (input.plan.assignments.empty()) {
    return Fail(ErrorCode::kInvalid, "the plan places nothing", "export a plan of a spec");
  }
  for (const Assignment& assignment : input.plan.assignments) {
    const Slice& slice = assignment.slice;
    if (slice.mechanism != Mechanism::kMps || !slice.placement || format != "kubernetes") continue;
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("{}/{} shares a {} of gpu{} by MPS, and NVIDIA's device plugin stops with an "
                    "error where MPS is asked of a MIG device",
                    assignment.workload, assignment.replica, slice.profile, assignment.gpu_index),
        "`tranche export shell`, systemd or compose can; or apply the plan with Tranche");
  }
  Exported out;
  if (input.plan.simulated_fleet) {
    out.notes.push_back(
        "the plan is for GPUs on paper, so their UUIDs (fleet-...) stand for those to come");
  }
  const exporting::Replicas replicas =
      exporting::ReplicasOf(input, format == "kubernetes", &out.notes);
  // The first that the format itself has to say is why.
  const size_t why = out.notes.size();
  found->second(input, replicas, &out);
  if (out.files.empty()) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("nothing of the plan can be said as {}", format),
                out.notes.size() > why ? out.notes[why] : "");
  }
  return out;
}

}  // namespace tranche
