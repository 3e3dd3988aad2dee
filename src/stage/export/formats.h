#pragma once

#include "stage/export/export.h"
#include "stage/export/replicas.h"

namespace tranche::exporting {

// Each adds its files and says what it could not.
using Replicas = std::vector<Replica>;
void ExportShell(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportCompose(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportSystemd(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportKubernetes(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportMps(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportTriton(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportVllm(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportNginx(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportTraefik(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportLibvirt(const ExportInput& input, const Replicas& replicas, Exported* out);
void ExportCdi(const ExportInput& input, const Replicas& replicas, Exported* out);

// A script that brings about the layout alone, and prints `NAME=UUID` of each slice. "" when there
// is nothing to make.
std::string LayoutScript(const ExportInput& input, const Replicas& replicas, Exported* out);

}  // namespace tranche::exporting
