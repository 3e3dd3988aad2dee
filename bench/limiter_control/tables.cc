#include "bench/limiter_control/tables.h"

#include <cmath>

#include "bench/gpu/json_writer.h"

namespace tranche::limiter_control {
namespace {

std::string Text(const Table::Cell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  const double value = std::get<double>(cell);
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), std::abs(value) >= 1000 ? "%.0f" : "%.2f", value);
  return buffer;
}

}  // namespace

void PrintMarkdown(FILE* out, const Table& table) {
  std::fprintf(out, "\n### %s\n\n|", table.title.c_str());
  for (const std::string& column : table.columns) std::fprintf(out, " %s |", column.c_str());
  std::fputs("\n|", out);
  for (size_t i = 0; i < table.columns.size(); ++i) std::fputs("---|", out);
  for (const auto& row : table.rows) {
    std::fputs("\n|", out);
    for (const Table::Cell& cell : row) std::fprintf(out, " %s |", Text(cell).c_str());
  }
  std::fputs("\n", out);
  std::fflush(out);
}

void PrintJson(FILE* out, const std::vector<Table>& tables, int seconds, int seeds) {
  gpu_check::JsonWriter json(out);
  json.BeginObject();
  json.Put("format_version", "1.0");
  json.Put("clock", "virtual");
  json.Put("seconds", seconds);
  json.Put("seeds", seeds);
  json.BeginObject("tables");
  for (const Table& table : tables) {
    json.BeginArray(table.key.c_str());
    for (const auto& row : table.rows) {
      json.BeginObject();
      for (size_t i = 0; i < row.size(); ++i) {
        const char* column = table.columns[i].c_str();
        if (const auto* text = std::get_if<std::string>(&row[i])) {
          json.Put(column, *text);
        } else {
          json.Put(column, std::get<double>(row[i]));
        }
      }
      json.EndObject();
    }
    json.EndArray();
  }
  json.EndObject();
  json.EndObject();
}

}  // namespace tranche::limiter_control
