#pragma once

#include <string>
#include <utility>
#include <vector>

#include "face/cli/render/terminal.h"

namespace tranche {

enum class Align { kLeft, kRight };

struct Column {
  std::string key;      // heading in CSV: snake_case, unit in the name
  std::string heading;  // for people
  Align align = Align::kLeft;
  bool wide = false;     // only with -o wide (and in CSV)
  bool elastic = false;  // may be cut when the terminal is narrow
};

// What is not known is an empty cell: "-" for people, nothing in CSV. Never 0.
struct Cell {
  Cell() = default;
  Cell(std::string shown) : text(std::move(shown)) {}  // NOLINT: reads like the text it is
  Cell(const char* shown) : text(shown) {}             // NOLINT
  Cell(std::string shown, std::string machine, Style painted = Style::kPlain)
      : text(std::move(shown)), raw(std::move(machine)), style(painted) {}

  std::string text;
  std::string raw;  // for CSV, in base units; "" = as shown
  Style style = Style::kPlain;
};

struct Table {
  std::string title;  // "" = none
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // each as long as `columns`
};

std::string RenderTable(const Table& table, const Terminal& terminal, bool wide);
// RFC 4180, with a heading line and every column.
std::string RenderCsv(const Table& table);

}  // namespace tranche
