#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tranche::pricing {

struct CsvRow {
  int line = 0;  // in the file, from 1, where the row begins
  std::vector<std::string> fields;
};

// Hands on the rows of a CSV one by one, as RFC 4180 is found in the wild: a byte order mark, CRLF
// or LF, empty lines, quoted fields with line breaks. kInvalid with the line for a quote that never
// closes, for more than `max_rows`, and for whatever `on_row` refuses, which ends it.
Status ForEachCsvRow(std::string_view text, const std::function<Status(const CsvRow&)>& on_row,
                     size_t max_rows = 1000000);

}  // namespace tranche::pricing
