#include "edge/driver/nvml/profile_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "abi/nvml.h"

namespace tranche {
namespace {

const char* SuffixOf(MigVariant variant) {
  switch (variant) {
    case MigVariant::kPlain:
      return "";
    case MigVariant::kMedia:
      return "+me";
    case MigVariant::kAllMedia:
      return "+me.all";
    case MigVariant::kNoMedia:
      return "-me";
    case MigVariant::kGraphics:
      return "+gfx";
  }
  return "";
}

}  // namespace

MigVariant VariantOfNvmlProfile(int nvml_profile) {
  switch (nvml_profile) {
    case NVML_GPU_INSTANCE_PROFILE_1_SLICE_REV1:
    case NVML_GPU_INSTANCE_PROFILE_2_SLICE_REV1:
      return MigVariant::kMedia;
    case NVML_GPU_INSTANCE_PROFILE_1_SLICE_GFX:
    case NVML_GPU_INSTANCE_PROFILE_2_SLICE_GFX:
    case NVML_GPU_INSTANCE_PROFILE_3_SLICE_GFX:
    case NVML_GPU_INSTANCE_PROFILE_4_SLICE_GFX:
      return MigVariant::kGraphics;
    case NVML_GPU_INSTANCE_PROFILE_1_SLICE_NO_ME:
    case NVML_GPU_INSTANCE_PROFILE_2_SLICE_NO_ME:
      return MigVariant::kNoMedia;
    case NVML_GPU_INSTANCE_PROFILE_1_SLICE_ALL_ME:
    case NVML_GPU_INSTANCE_PROFILE_2_SLICE_ALL_ME:
      return MigVariant::kAllMedia;
    default:
      return MigVariant::kPlain;
  }
}

std::string ProfileNameFromDriver(std::string_view text) {
  constexpr std::string_view kPrefix = "MIG ";
  if (text.substr(0, kPrefix.size()) == kPrefix) text.remove_prefix(kPrefix.size());
  // Names travel into messages, documents and file names; nothing but their own alphabet passes.
  const bool plausible =
      text.size() >= 4 && text[0] >= '1' && text[0] <= '9' &&
      text.find("g.") != std::string_view::npos &&
      std::all_of(text.begin(), text.end(), [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '.' || c == '+' || c == '-';
      });
  return plausible ? std::string(text) : "";
}

std::string ProfileNameFromNumbers(int compute_slices, Bytes memory, Bytes gpu_memory,
                                   MigVariant variant) {
  const double gib = std::ceil(static_cast<double>(gpu_memory.value) / GiB(1).value);
  const double part =
      gpu_memory.value == 0 ? 0 : static_cast<double>(memory.value) / gpu_memory.value;
  const double eighths = std::ceil(part * 8) / 8;
  return fmt::format("{}g.{}gb{}", compute_slices, std::lround(eighths * gib), SuffixOf(variant));
}

}  // namespace tranche
