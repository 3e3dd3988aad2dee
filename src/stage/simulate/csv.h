#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tranche::simulate {

// For messages: what somebody wrote, cut, without anything that could steer a terminal.
std::string Quoted(std::string_view text);

// A table of text with a heading line (RFC 4180: quotes, CRLF), read row by row, that gathers what
// is wrong with it.
class CsvReader {
 public:
  // `text` must outlive the reader.
  CsvReader(std::string_view text, std::string name);

  // Which column is called so; notes a mistake where it is missing and `required`.
  std::optional<size_t> Column(const std::string& heading, bool required);

  // The next line that is not empty; false at the end.
  bool Next();
  // Of the current line; "" where it has no such column.
  std::string Text(std::optional<size_t> column) const;
  // A whole number from `least` to `most`; notes a mistake, and gives `least`, where it is none.
  int64_t Number(std::optional<size_t> column, int64_t least, int64_t most);
  // Absent where the cell is empty.
  std::optional<double> Seconds(std::optional<size_t> column);

  void Mistake(const std::string& what);
  // All mistakes so far, the first ten in words (kInvalid).
  Status status(const std::string& hint) const;

 private:
  bool ReadLine(std::vector<std::string>* cells);

  std::string_view rest_;
  std::string name_;
  std::vector<std::string> headings_;
  std::vector<std::string> cells_;
  int line_ = 0;
  std::vector<std::string> mistakes_;
  size_t more_mistakes_ = 0;
};

}  // namespace tranche::simulate
