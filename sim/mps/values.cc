#include "sim/mps/values.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

namespace tranche::sim::mps {

std::optional<uint64_t> Number(const std::string& text) {
  if (text.empty() || text.size() > 18) return std::nullopt;
  const bool whole =
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  return whole ? std::optional(std::strtoull(text.c_str(), nullptr, 10)) : std::nullopt;
}

std::optional<uint64_t> Size(const std::string& text, const std::string& units) {
  if (text.size() < 2 || units.find(text.back()) == std::string::npos) return std::nullopt;
  const auto number = Number(text.substr(0, text.size() - 1));
  const int shift = text.back() == 'G' ? 30 : text.back() == 'M' ? 20 : 10;
  if (!number || *number == 0 || *number > (uint64_t{1} << 54) >> shift) return std::nullopt;
  return *number << shift;
}

std::optional<double> Percentage(const std::string& text, double least) {
  char* end = nullptr;
  const double percentage = std::strtod(text.c_str(), &end);
  const bool is_number = !text.empty() && *end == 0;
  if (!is_number || !(percentage >= least) || !(percentage > 0) || percentage > 100)
    return std::nullopt;
  return percentage;
}

std::optional<bool> Boolean(const std::string& text) {
  if (text == "true" || text == "1") return true;
  return text == "false" || text == "0" ? std::optional(false) : std::nullopt;
}

bool IsName(const std::string& text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

Words Split(const std::string& text, char separator) {
  Words words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, separator);) words.push_back(word);
  return words;
}

std::string Join(const Words& words, const std::string& between) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) text += (i == 0 ? "" : between) + words[i];
  return text;
}

std::string Decimals(double number, int digits) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.*f", digits, number);
  return text;
}

std::string CommandOf(uint32_t pid, bool with_arguments) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string command(std::istreambuf_iterator<char>(file), {});
  if (!with_arguments) return command.substr(0, command.find('\0'));
  while (!command.empty() && command.back() == '\0') command.pop_back();
  // Each row of an answer is a line.
  std::replace_if(
      command.begin(), command.end(), [](char c) { return c == '\0' || c == '\n'; }, ' ');
  return command;
}

std::string PidNamespaceOf(uint32_t pid) {
  char target[64] = {};
  const std::string path = "/proc/" + std::to_string(pid) + "/ns/pid";
  const ssize_t n = readlink(path.c_str(), target, sizeof(target) - 1);
  const std::string text(target, n > 0 ? static_cast<size_t>(n) : 0);
  const size_t open = text.find('['), close = text.find(']');
  return close == std::string::npos ? "0" : text.substr(open + 1, close - open - 1);
}

}  // namespace tranche::sim::mps
