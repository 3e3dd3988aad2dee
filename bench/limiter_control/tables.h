#pragma once

#include <cstdio>
#include <string>
#include <variant>
#include <vector>

namespace tranche::limiter_control {

// What is printed twice: as Markdown and as JSON.
struct Table {
  using Cell = std::variant<std::string, double>;
  std::string key;  // in JSON
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;
};

void PrintMarkdown(FILE* out, const Table& table);
void PrintJson(FILE* out, const std::vector<Table>& tables, int seconds, int seeds);

}  // namespace tranche::limiter_control
