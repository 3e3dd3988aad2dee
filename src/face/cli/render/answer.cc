#include "face/cli/render/answer.h"

#include "base/json.h"
#include "base/suggest.h"
#include "model/receipt.h"

namespace tranche {

Result<OutputFormat> ParseOutputFormat(const std::string& name) {
  if (name == "table") return OutputFormat::kTable;
  if (name == "wide") return OutputFormat::kWide;
  if (name == "json") return OutputFormat::kJson;
  if (name == "yaml") return OutputFormat::kYaml;
  if (name == "csv") return OutputFormat::kCsv;
  const std::string meant = DidYouMean(name, {"table", "wide", "json", "yaml", "csv"});
  return Fail(ErrorCode::kInvalid, "unknown output format '" + name + "'",
              meant.empty() ? "one of table, wide, json, yaml, csv" : meant);
}

std::string RenderAnswer(const Answer& answer, OutputFormat format, const Terminal& terminal) {
  if (format == OutputFormat::kJson) return PrintJson(answer.json);
  if (format == OutputFormat::kYaml) return JsonToYaml(answer.json);
  if (format == OutputFormat::kCsv && answer.csv) return RenderCsv(*answer.csv);
  std::string out;
  for (const Answer::Block& block : answer.blocks) {
    const Table* table = std::get_if<Table>(&block);
    if (format == OutputFormat::kCsv) {
      if (table != nullptr) return RenderCsv(*table);
      continue;
    }
    out += table != nullptr ? RenderTable(*table, terminal, format == OutputFormat::kWide)
                            : std::get<std::string>(block);
  }
  return out;
}

Json ErrorDocument(const Error& error) {
  return {{"format_version", "1.0"}, {"error", ToJson(error)}};
}

}  // namespace tranche
