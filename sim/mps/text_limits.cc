#include "sim/mps/registration.h"
#include "sim/mps/text_protocol.h"

namespace tranche::sim::mps {
namespace {

constexpr char kUnits[] = "GM";
constexpr const char* kNoPercentage = "Invalid active thread percentage\n";
constexpr const char* kNoLimitText = "Invalid memory limit\n";

std::optional<double> PercentageAt(const Words& words, size_t at) {
  return words.size() > at ? Percentage(words[at], 0) : std::nullopt;
}

std::optional<uint64_t> SizeAt(const Words& words, size_t at) {
  return words.size() > at ? Size(words[at], kUnits) : std::nullopt;
}

}  // namespace

void TextProtocol::GiveDefaults(MpsServer* entry) const {
  entry->thread_percentage = percentage_;
  entry->below_normal = priority_;
  std::fill(std::begin(entry->memory_limits), std::end(entry->memory_limits), 0);
  for (const auto& [name, size] : memory_) {
    // A device that is not there is passed over without a word, as by the real one.
    if (const auto device = devices_.Named(name))
      entry->memory_limits[devices_[*device].gpu] = Size(size, kUnits).value_or(0);
  }
}

std::string TextProtocol::SetDefaultPercentage(const Words& words) {
  const auto percentage = PercentageAt(words, 1);
  if (!percentage) return kNoPercentage;
  percentage_ = *percentage;
  return GetDefaultPercentage(words);
}

std::string TextProtocol::GetDefaultPercentage(const Words&) {
  return Decimals(percentage_, 1) + "\n";
}

std::string TextProtocol::SetPercentage(const Words& words) {
  if (const std::string none = ServerNamed(words, 1); !none.empty()) return none;
  const auto percentage = PercentageAt(words, 2);
  if (!percentage) return kNoPercentage;
  ChangeServer(machine_, serial_, [&](MpsServer& entry) { entry.thread_percentage = *percentage; });
  return GetPercentage(words);
}

std::string TextProtocol::GetPercentage(const Words& words) {
  if (const std::string none = ServerNamed(words, 1); !none.empty()) return none;
  return Decimals(ServerOf(machine_, serial_).thread_percentage, 1) + "\n";
}

std::string TextProtocol::SetDefaultMemory(const Words& words) {
  if (!SizeAt(words, 2)) return kNoLimitText;
  std::erase_if(memory_, [&](const auto& limit) { return limit.first == words[1]; });
  memory_.emplace_back(words[1], words[2]);
  return "";
}

std::string TextProtocol::GetDefaultMemory(const Words& words) {
  if (words.size() < 2) return "Invalid device\n";
  for (const auto& [device, size] : memory_) {
    if (device == words[1]) return size + "\n";
  }
  return "\n";
}

std::string TextProtocol::SetMemory(const Words& words) {
  if (const std::string none = ServerNamed(words, 1); !none.empty()) return none;
  const auto size = SizeAt(words, 3);
  if (!size) return kNoLimitText;
  if (const auto device = devices_.Named(words[2])) {
    ChangeServer(machine_, serial_,
                 [&](MpsServer& entry) { entry.memory_limits[devices_[*device].gpu] = *size; });
  }
  return "";
}

std::string TextProtocol::GetMemory(const Words& words) {
  if (const std::string none = ServerNamed(words, 1); !none.empty()) return none;
  if (words.size() < 3) return "Invalid device\n";
  const auto device = devices_.Named(words[2]);
  const uint64_t bytes =
      device ? ServerOf(machine_, serial_).memory_limits[devices_[*device].gpu] : 0;
  if (bytes == 0) return "\n";
  const bool whole = bytes % (uint64_t{1} << 30) == 0;
  return std::to_string(whole ? bytes >> 30 : bytes >> 20) + (whole ? "G\n" : "M\n");
}

std::string TextProtocol::SetDefaultPriority(const Words& words) {
  if (words.size() != 2 || (words[1] != "0" && words[1] != "1")) return "Invalid client priority\n";
  priority_ = words[1] == "1" ? 1 : 0;
  return "";
}

std::string TextProtocol::GetDefaultPriority(const Words&) {
  return std::to_string(priority_) + "\n";
}

}  // namespace tranche::sim::mps
