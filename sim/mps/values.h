#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

// Words of commands, read and written. Pure, but for what is asked of /proc.
namespace tranche::sim::mps {

using Words = std::vector<std::string>;

std::optional<uint64_t> Number(const std::string& text);
// "10G", "512M" and, of `units`, "1024K": whole numbers, binary.
std::optional<uint64_t> Size(const std::string& text, const std::string& units);
// From `least` to 100, with or without decimals.
std::optional<double> Percentage(const std::string& text, double least);
std::optional<bool> Boolean(const std::string& text);
// Of a server or namespace: 1 to 64 of a-z, 0-9 and _.
bool IsName(const std::string& text);

Words Split(const std::string& text, char separator);
std::string Join(const Words& words, const std::string& between);
// "50.0" and "50.00".
std::string Decimals(double number, int digits);

// Of a process, from /proc: what it was started as, with its arguments or without.
std::string CommandOf(uint32_t pid, bool with_arguments);
// The inode of its pid namespace.
std::string PidNamespaceOf(uint32_t pid);

}  // namespace tranche::sim::mps
