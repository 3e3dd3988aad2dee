#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "face/cli/render/table.h"
#include "face/cli/render/terminal.h"

namespace tranche {

enum class OutputFormat { kTable, kWide, kJson, kYaml, kCsv };
Result<OutputFormat> ParseOutputFormat(const std::string& name);

// What a verb has to say: for machines one document, for people tables and lines.
struct Answer {
  using Block =
      std::variant<std::string, Table>;  // a string is printed as it is, with its newlines

  Json json;
  std::vector<Block> blocks;
  std::optional<Table> csv;  // for -o csv; the first table when absent
};

std::string RenderAnswer(const Answer& answer, OutputFormat format, const Terminal& terminal);

// `error` in JSON, beside `format_version`: what -o json prints on stdout when a verb fails.
Json ErrorDocument(const Error& error);

std::string JsonToYaml(const Json& json);

}  // namespace tranche
