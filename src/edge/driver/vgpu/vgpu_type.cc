#include "edge/driver/vgpu/vgpu_type.h"

#include <cctype>
#include <sstream>

namespace tranche {
namespace {

constexpr VgpuSeries kAllSeries[] = {VgpuSeries::kC, VgpuSeries::kQ, VgpuSeries::kA,
                                     VgpuSeries::kB};
// No board is larger, nor has more slices.
constexpr int kMostGib = 1024, kMostSlices = 7;

std::optional<int> Number(const std::string& text, int most) {
  if (text.empty() || text.size() > 4) return std::nullopt;
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

char VgpuSeriesLetter(VgpuSeries series) {
  switch (series) {
    case VgpuSeries::kC:
      return 'C';
    case VgpuSeries::kQ:
      return 'Q';
    case VgpuSeries::kA:
      return 'A';
    case VgpuSeries::kB:
      return 'B';
  }
  return '?';
}

std::optional<VgpuSeries> ParseVgpuSeries(const std::string& letter) {
  for (const VgpuSeries series : kAllSeries) {
    if (letter == std::string(1, VgpuSeriesLetter(series))) return series;
  }
  return std::nullopt;
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
  if (rest != "" && rest != "ME" && !Number(rest, 9)) return unknown();
  VgpuType type{id, name, *series, GiB(*gib), 0};
  const std::string board = name.substr(0, dash);
  const size_t before = board.rfind('-');
  if (before != std::string::npos) {
    if (const auto slices = Number(board.substr(before + 1), kMostSlices))
      type.mig_slices = *slices;
  }
  return type;
}

std::vector<VgpuType> ParseCreatableTypes(const std::string& text) {
  std::vector<VgpuType> types;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const auto id = Number(Trimmed(line.substr(0, colon)), 9999);
    if (!id) continue;
    const auto type =
        ParseVgpuTypeName(static_cast<uint32_t>(*id), Trimmed(line.substr(colon + 1)));
    if (type) types.push_back(*type);
  }
  return types;
}

}  // namespace tranche
