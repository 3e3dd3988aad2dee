#include "sim/mps/table.h"

#include <algorithm>
#include <cctype>

namespace tranche::sim::mps {
namespace {

std::string Cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string CsvLine(const Words& row) {
  Words cells;
  std::transform(row.begin(), row.end(), std::back_inserter(cells), Cell);
  return Join(cells, ",") + "\n";
}

Words TitlesOfTable(Words titles) {
  for (std::string& title : titles) {
    const bool small = std::none_of(title.begin(), title.end(),
                                    [](unsigned char c) { return std::isupper(c) != 0; });
    if (!small) continue;
    std::transform(title.begin(), title.end(), title.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  }
  return titles;
}

}  // namespace

std::optional<Format> FormatNamed(const std::string& name) {
  if (name == "table") return Format::kTable;
  if (name == "csv") return Format::kCsv;
  return name == "csv,noheader" ? std::optional(Format::kCsvNoHeader) : std::nullopt;
}

std::string Print(const Table& table, Format format) {
  std::string text;
  if (format != Format::kTable) {
    if (format == Format::kCsv) text = CsvLine(table.titles);
    for (const Words& row : table.rows) text += CsvLine(row);
    return text;
  }
  std::vector<Words> rows = {TitlesOfTable(table.titles)};
  rows.insert(rows.end(), table.rows.begin(), table.rows.end());
  std::vector<size_t> widths(table.titles.size());
  for (const Words& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const Words& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i)
      line +=
          i + 1 == row.size() ? row[i] : row[i] + std::string(widths[i] + 2 - row[i].size(), ' ');
    text += line + "\n";
  }
  return text;
}

}  // namespace tranche::sim::mps
