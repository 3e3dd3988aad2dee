#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/mps/values.h"

namespace tranche::sim::mps {

// What `list` prints: columns for people, or one line of comma-separated values for each row.
enum class Format { kTable, kCsv, kCsvNoHeader };
std::optional<Format> FormatNamed(const std::string& name);

struct Table {
  Words titles;  // as in CSV; those in small letters are capitals in a table
  std::vector<Words> rows;
};
std::string Print(const Table& table, Format format);

}  // namespace tranche::sim::mps
