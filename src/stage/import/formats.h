#pragma once

#include "base/yaml.h"
#include "stage/import/reading.h"

namespace tranche::importing {

// One function per format; each adds to the draft, the mistakes and the notes of `reading`.

// NVIDIA's device plugin, config v1.
void ReadDevicePlugin(const YamlNode& root, Reading& reading);

// NVIDIA mig-parted: the configuration called `name`, of those that MigPartedConfigs lists. All of
// the file is checked.
std::vector<std::string> MigPartedConfigs(const YamlNode& root);
void ReadMigParted(const YamlNode& root, const std::string& name, Reading& reading);

// Kubernetes objects that ask for GPUs: pods and what makes pods, with NVIDIA's and HAMi's resource
// names; resource claims, their templates and device classes with NVIDIA's opaque configurations.
void ReadKubernetes(const std::vector<const YamlNode*>& objects, Reading& reading);
// What an object's opaque configuration (GpuConfig, MigDeviceConfig) says of sharing.
struct SharingConfig {
  std::optional<Mechanism> mechanism;  // absent: not shared
  std::optional<double> compute;       // of MPS
  std::optional<Bytes> memory;
};
SharingConfig ReadGpuConfig(const YamlNode& node, const std::string& path, Reading& reading);

// MPS v3, as `nvidia-cuda-mps-control --apply` takes it.
void ReadMps(const YamlNode& root, Reading& reading);
// TOML as the same tree that YAML is read into.
tl::expected<YamlNode, YamlError> ParseToml(std::string_view text);

}  // namespace tranche::importing
