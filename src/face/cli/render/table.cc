#include "face/cli/render/table.h"

#include <algorithm>

namespace tranche {
namespace {

constexpr int kGap = 2;
constexpr int kNarrowest = 8;  // an elastic column is not cut below this

std::string Shown(const Cell& cell) { return cell.text.empty() ? "-" : Printable(cell.text); }

// Cuts elastic columns, the widest first, until the line fits.
void Squeeze(const Table& table, const std::vector<size_t>& shown, int limit,
             std::vector<int>& widths) {
  if (limit <= 0) return;
  int total = kGap * (static_cast<int>(shown.size()) - 1);
  for (const int width : widths) total += width;
  while (total > limit) {
    int widest = -1;
    for (size_t i = 0; i < shown.size(); ++i) {
      if (!table.columns[shown[i]].elastic || widths[i] <= kNarrowest) continue;
      if (widest < 0 || widths[i] > widths[static_cast<size_t>(widest)])
        widest = static_cast<int>(i);
    }
    if (widest < 0) return;
    --widths[static_cast<size_t>(widest)];
    --total;
  }
}

std::string Quoted(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
  std::string out = "\"";
  for (const char c : field) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

}  // namespace

std::string RenderTable(const Table& table, const Terminal& terminal, bool wide) {
  std::vector<size_t> shown;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (wide || !table.columns[i].wide) shown.push_back(i);
  }
  std::vector<int> widths;
  for (const size_t column : shown) {
    int width = DisplayWidth(table.columns[column].heading);
    for (const auto& row : table.rows) width = std::max(width, DisplayWidth(Shown(row[column])));
    widths.push_back(width);
  }
  Squeeze(table, shown, terminal.width(), widths);

  std::string out;
  if (!table.title.empty()) out += terminal.Paint(Style::kBold, table.title) + "\n";
  const auto put = [&](size_t i, const std::string& text, Style style) {
    const std::string cut = Elide(text, widths[i]);
    const auto padding = static_cast<size_t>(std::max(0, widths[i] - DisplayWidth(cut)));
    const bool last = i + 1 == shown.size();
    if (table.columns[shown[i]].align == Align::kRight) out += std::string(padding, ' ');
    out += terminal.Paint(style, cut);
    if (last) return;
    if (table.columns[shown[i]].align == Align::kLeft) out += std::string(padding, ' ');
    out += std::string(kGap, ' ');
  };
  for (size_t i = 0; i < shown.size(); ++i) {
    put(i, table.columns[shown[i]].heading, Style::kBold);
  }
  out += "\n";
  for (const auto& row : table.rows) {
    for (size_t i = 0; i < shown.size(); ++i) put(i, Shown(row[shown[i]]), row[shown[i]].style);
    out += "\n";
  }
  return out;
}

std::string RenderCsv(const Table& table) {
  std::string out;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    out += (i == 0 ? "" : ",") + Quoted(table.columns[i].key);
  }
  out += "\r\n";
  for (const auto& row : table.rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      out += (i == 0 ? "" : ",") + Quoted(row[i].raw.empty() ? row[i].text : row[i].raw);
    }
    out += "\r\n";
  }
  return out;
}

}  // namespace tranche
