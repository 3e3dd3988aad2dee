#include "stage/simulate/csv.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/suggest.h"

namespace tranche::simulate {
namespace {

constexpr size_t kMistakesTold = 10;

}  // namespace

std::string Quoted(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, 40)) {
    shown += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return "'" + shown + (text.size() > 40 ? "...'" : "'");
}

CsvReader::CsvReader(std::string_view text, std::string name)
    : rest_(text), name_(std::move(name)) {
  if (rest_.substr(0, 3) == "\xef\xbb\xbf") rest_.remove_prefix(3);  // as spreadsheets write it
  if (!ReadLine(&headings_)) Mistake("is empty");
}

bool CsvReader::ReadLine(std::vector<std::string>* cells) {
  cells->clear();
  if (rest_.empty()) return false;
  ++line_;
  const int first = line_;
  std::string cell;
  bool quoted = false;
  size_t i = 0;
  for (; i < rest_.size(); ++i) {
    const char c = rest_[i];
    if (quoted) {
      if (c == '\n') ++line_;
      if (c != '"') {
        cell += c;
      } else if (i + 1 < rest_.size() && rest_[i + 1] == '"') {
        cell += '"';
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '"' && cell.empty()) {
      quoted = true;
    } else if (c == ',') {
      cells->push_back(std::move(cell));
      cell.clear();
    } else if (c == '\n') {
      break;
    } else if (c != '\r') {
      cell += c;
    }
  }
  cells->push_back(std::move(cell));
  rest_.remove_prefix(std::min(i + 1, rest_.size()));
  if (quoted) {
    line_ = first;
    Mistake("a quote is never closed");
  }
  return true;
}

std::optional<size_t> CsvReader::Column(const std::string& heading, bool required) {
  const auto at = std::find(headings_.begin(), headings_.end(), heading);
  if (at != headings_.end()) return static_cast<size_t>(at - headings_.begin());
  if (required && !headings_.empty()) {
    const std::string meant = Suggest(heading, headings_);
    Mistake("has no column '" + heading + "'" +
            (meant.empty() ? "" : ", but one called " + Quoted(meant)));
  }
  return std::nullopt;
}

bool CsvReader::Next() {
  while (ReadLine(&cells_)) {
    if (cells_.size() > 1 || !cells_[0].empty()) return true;
  }
  return false;
}

std::string CsvReader::Text(std::optional<size_t> column) const {
  return column && *column < cells_.size() ? cells_[*column] : "";
}

int64_t CsvReader::Number(std::optional<size_t> column, int64_t least, int64_t most) {
  if (!column) return least;
  const std::string text = Text(column);
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) {
    Mistake(fmt::format("{} is {}, not a whole number", headings_[*column], Quoted(text)));
    return least;
  }
  if (value < least || value > most) {
    Mistake(fmt::format("{} is {}, not between {} and {}", headings_[*column], value, least, most));
    return least;
  }
  return value;
}

std::optional<double> CsvReader::Seconds(std::optional<size_t> column) {
  const std::string text = Text(column);
  if (text.empty()) return std::nullopt;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
      value < 0) {
    Mistake(fmt::format("{} is {}, not a time in seconds", headings_[*column], Quoted(text)));
    return std::nullopt;
  }
  return value;
}

void CsvReader::Mistake(const std::string& what) {
  if (mistakes_.size() < kMistakesTold) {
    mistakes_.push_back(fmt::format("{}:{}: {}", name_, std::max(line_, 1), what));
  } else {
    ++more_mistakes_;
  }
}

Status CsvReader::status(const std::string& hint) const {
  if (mistakes_.empty()) return {};
  std::string message = fmt::format("{}", fmt::join(mistakes_, "\n"));
  if (more_mistakes_ > 0) message += fmt::format("\nand {} more", more_mistakes_);
  return Fail(ErrorCode::kInvalid, message, hint);
}

}  // namespace tranche::simulate
