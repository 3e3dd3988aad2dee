#include "face/cli/measurements.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "base/json.h"
#include "base/suggest.h"
#include "base/units.h"
#include "catalog/catalog.h"

namespace tranche {
namespace {

constexpr size_t kMostRows = 200000;
constexpr size_t kMostMistakes = 20;

using Row = std::map<std::string, std::string>;

const std::vector<std::string>& Known() {
  static const std::vector<std::string> kNames = {"program", "batch",        "mechanism",
                                                  "slice",   "tenants",      "share",
                                                  "seconds", "milliseconds", "per_second"};
  return kNames;
}

std::optional<double> NumberIn(const Row& row, const char* name) {
  const auto cell = row.find(name);
  if (cell == row.end() || cell->second.empty()) return std::nullopt;
  double value = 0;
  const char* end = cell->second.data() + cell->second.size();
  const auto [stop, error] = std::from_chars(cell->second.data(), end, value);
  return error == std::errc() && stop == end ? value : std::nan("");
}

std::string TextIn(const Row& row, const char* name) {
  const auto cell = row.find(name);
  return cell == row.end() ? "" : cell->second;
}

// Fills `out`, or says what is wrong.
std::optional<std::string> ReadRow(const Row& row, Observation* out) {
  out->program = TextIn(row, "program");
  if (out->program.empty()) return "it names no program";
  out->batch = NumberIn(row, "batch").value_or(1);
  if (!(out->batch > 0 && out->batch < 1e9)) return "batch is not a number above 0";
  const double tenants = NumberIn(row, "tenants").value_or(1);
  if (!(tenants >= 1 && tenants <= 1000)) return "tenants is not a number from 1 to 1000";
  out->place.tenants = static_cast<int>(tenants);
  const std::string mechanism = TextIn(row, "mechanism");
  if (!mechanism.empty()) {
    const auto parsed = ParseMechanism(mechanism);
    if (!parsed) return parsed.error().message;
    out->place.mechanism = *parsed;
  }
  if (const std::string share = TextIn(row, "share"); !share.empty()) {
    const auto parsed = ParseFraction(share);
    if (!parsed) return "share: " + parsed.error().message;
    out->place.share = parsed->value;
  }
  const std::string slice = TextIn(row, "slice");
  if (out->place.mechanism == Mechanism::kMig) {
    const auto profile = ParseMigProfileName(slice);
    const auto number = NumberIn(row, "slice");
    const double slices = profile ? profile->compute_slices : number.value_or(0);
    if (!(slices >= 1 && slices <= 7)) return "mig needs a slice like 2g.20gb";
    out->place.compute_slices = static_cast<int>(slices);
  } else if (!slice.empty()) {
    return "a slice goes with mig";
  }
  const auto seconds = NumberIn(row, "seconds");
  const auto milliseconds = NumberIn(row, "milliseconds");
  const auto rate = NumberIn(row, "per_second");
  if (seconds.has_value() + milliseconds.has_value() + rate.has_value() != 1)
    return "it needs one of seconds, milliseconds and per_second";
  out->seconds = seconds ? *seconds : milliseconds ? *milliseconds / 1e3 : 1 / *rate;
  if (!(out->seconds > 0 && out->seconds < 1e7)) return "its time is not a number above 0";
  return std::nullopt;
}

Status UnknownName(const std::string& file, const std::string& name) {
  const std::string meant = DidYouMean(name, Known());
  return Fail(ErrorCode::kInvalid, fmt::format("{}: there is no column '{}'", file, name),
              meant.empty() ? fmt::format("known are {}", fmt::join(Known(), ", ")) : meant);
}

Result<std::vector<std::pair<std::string, Row>>> RowsOfCsv(std::string_view text,
                                                           const std::string& file) {
  std::vector<std::pair<std::string, Row>> rows;
  std::vector<std::string> names;
  int number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line.starts_with('#')) continue;
    std::vector<std::string> cells(1);
    bool quoted = false;
    for (const char c : line) {
      if (c == '"')
        quoted = !quoted;
      else if (c == ',' && !quoted)
        cells.emplace_back();
      else
        cells.back() += c;
    }
    if (names.empty()) {
      names = cells;
      for (const std::string& name : names) {
        if (std::find(Known().begin(), Known().end(), name) == Known().end())
          return tl::unexpected<Error>(UnknownName(file, name).error());
      }
      continue;
    }
    if (rows.size() >= kMostRows) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("{} has more than {} measurements", file, kMostRows));
    }
    Row row;
    for (size_t i = 0; i < names.size() && i < cells.size(); ++i) row[names[i]] = cells[i];
    rows.emplace_back(fmt::format("{}:{}", file, number), std::move(row));
  }
  return rows;
}

Result<std::vector<std::pair<std::string, Row>>> RowsOfJson(std::string_view text,
                                                            const std::string& file) {
  const auto json = ParseJson(text);
  if (!json) return FailedWhile(file, json.error());
  const Json* list = &*json;
  if (json->is_object() && json->contains("measurements")) list = &(*json)["measurements"];
  if (!list->is_array()) return Fail(ErrorCode::kInvalid, file + ": it is not a list");
  if (list->size() > kMostRows) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("{} has more than {} measurements", file, kMostRows));
  }
  std::vector<std::pair<std::string, Row>> rows;
  for (const Json& entry : *list) {
    const std::string where = fmt::format("{}: measurement {}", file, rows.size() + 1);
    if (!entry.is_object()) return Fail(ErrorCode::kInvalid, where + " is not an object");
    Row row;
    for (const auto& [name, value] : entry.items()) {
      if (std::find(Known().begin(), Known().end(), name) == Known().end())
        return tl::unexpected<Error>(UnknownName(where, name).error());
      row[name] = value.is_string()   ? value.get<std::string>()
                  : value.is_number() ? fmt::format("{}", value.get<double>())
                                      : "?";
    }
    rows.emplace_back(where, std::move(row));
  }
  return rows;
}

}  // namespace

Result<std::vector<Observation>> ParseMeasurements(std::string_view text, const std::string& file) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool json = first != text.npos && (text[first] == '[' || text[first] == '{');
  const auto rows = json ? RowsOfJson(text, file) : RowsOfCsv(text, file);
  if (!rows) return tl::unexpected<Error>(rows.error());
  std::vector<Observation> observations;
  std::vector<std::string> mistakes;
  for (const auto& [where, row] : *rows) {
    Observation observation;
    if (const auto wrong = ReadRow(row, &observation)) {
      if (mistakes.size() < kMostMistakes) mistakes.push_back(where + ": " + *wrong);
      continue;
    }
    observations.push_back(std::move(observation));
  }
  if (!mistakes.empty()) {
    return Fail(ErrorCode::kInvalid, fmt::format("{}", fmt::join(mistakes, "\n")));
  }
  if (observations.empty()) {
    return Fail(ErrorCode::kInvalid, file + " has no measurement",
                "its first line names the columns: program,batch,mechanism,slice,tenants,seconds");
  }
  return observations;
}

}  // namespace tranche
