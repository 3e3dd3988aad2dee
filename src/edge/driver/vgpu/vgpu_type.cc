#include "edge/driver/vgpu/vgpu_type.h"

#include <fmt/format.h>

#include <cctype>
#include <sstream>

namespace tranche {
namespace {

// No board is larger, nor has more slices.
constexpr int kMostGib = 1024, kMostSlices = 7;
constexpr int kLargestId = 999999;

std::optional<int> Number(const std::string& text, int most) {
  if (text.empty() || text.size() > 7) return std::nullopt;
  int number = 0;
  for (const char c : text) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) return std::nullopt;
    number = number * 10 + (c - '0');
  }
  return number >= 1 && number <= most ? std::optional(number) : std::nullopt;
}

std::string Trimmed(const std::string& text) {
  const size_t from = text.find_first_not_of(" \t\r");
  return from == std::string::npos ? ""
                                   : text.substr(from, text.find_last_not_of(" \t\r") + 1 - from);
}

}  // namespace

std::vector<VgpuType> ParseSupportedTypes(const std::string& text) {
  std::vector<VgpuType> types;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(" : ");
    const std::string key = colon == std::string::npos ? "" : Trimmed(line.substr(0, colon));
    const std::string value = Trimmed(colon == std::string::npos ? line : line.substr(colon + 3));
    if ((key.empty() || key == "Name") &&
        (value.rfind("NVIDIA ", 0) == 0 || value.rfind("GRID ", 0) == 0)) {
      if (const auto type = ParseVgpuTypeName(0, value)) types.push_back(*type);
    } else if (!types.empty() && key == "Max Instances") {
      types.back().most = Number(value, 256).value_or(0);
    } else if (!types.empty() && key == "Max Instances Per GI") {
      types.back().most_per_instance = Number(value, 256).value_or(0);
    } else if (!types.empty() && key == "GPU Instance Profile ID") {
      types.back().instance_profile = value == "0" ? 0 : Number(value, 9999);
    } else if (!types.empty() && key == "FB Memory") {
      const auto mib = Number(value.substr(0, value.find(' ')), kMostGib * 1024);
      if (mib) types.back().framebuffer = MiB(static_cast<uint64_t>(*mib));
    }
  }
  return types;
}

void ReadVgpuDescription(const std::string& text, VgpuType* type) {
  const auto value = [&](const std::string& key, int most) -> std::optional<int> {
    const size_t at = text.find(key + "=");
    if (at == std::string::npos) return std::nullopt;
    const size_t from = at + key.size() + 1;
    return Number(text.substr(from, text.find_first_not_of("0123456789", from) - from), most);
  };
  if (const auto mib = value("framebuffer", kMostGib * 1024))
    type->framebuffer = MiB(static_cast<uint64_t>(*mib));
  if (const auto most = value("max_instance", 256)) type->most = *most;
}

Result<VgpuType> ParseVgpuTypeName(uint32_t id, const std::string& name) {
  const auto unknown = [&] {
    return Fail(ErrorCode::kInvalid, "the vGPU type '" + name + "' is not understood",
                "types are named like 'NVIDIA A40-8C' or 'NVIDIA A100-1-5C'");
  };
  const size_t dash = name.rfind('-');
  if (dash == std::string::npos || dash == 0) return unknown();
  const std::string last = name.substr(dash + 1);
  const size_t letter = last.find_first_not_of("0123456789");
  if (letter == std::string::npos) return unknown();
  const auto gib = Number(last.substr(0, letter), kMostGib);
  const auto series = ParseVgpuSeries(last.substr(letter, 1));
  if (!gib || !series) return unknown();
  // "ME": with the media engines; "4": a B type with more displays.
  const std::string rest = last.substr(letter + 1);
  if (!rest.empty() && rest != "ME" && !Number(rest, 9)) return unknown();
  VgpuType type{id, name, *series, GiB(static_cast<uint64_t>(*gib)), 0, 0};
  const std::string board = name.substr(0, dash);
  const size_t before = board.rfind('-');
  if (before != std::string::npos) {
    if (const auto slices = Number(board.substr(before + 1), kMostSlices))
      type.mig_slices = *slices;
  }
  return type;
}

Result<std::vector<VgpuType>> ParseCreatableTypes(const std::string& text) {
  std::vector<VgpuType> types;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (Trimmed(line).empty()) continue;
    const size_t colon = line.find(':');
    const std::string key = Trimmed(line.substr(0, colon));
    const bool header = number == 1 && line.find("Name", line.find(':')) != std::string::npos;
    if (header) continue;
    const auto id = Number(key, kLargestId);
    if (colon == std::string::npos || !id) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("line {} is no type: '{}'", number, Trimmed(line).substr(0, 60)),
                  "lines are like '559 : NVIDIA A40-8C'");
    }
    const auto type =
        ParseVgpuTypeName(static_cast<uint32_t>(*id), Trimmed(line.substr(colon + 1)));
    if (type) types.push_back(*type);
  }
  return types;
}

}  // namespace tranche
