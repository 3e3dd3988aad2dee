#include "face/cli/size_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"

namespace tranche {
namespace {

Cell BytesCell(Bytes bytes) { return {FormatBytes(bytes), std::to_string(bytes.value)}; }

Json TermsJson(const std::vector<MemoryTerm>& terms) {
  Json json = Json::array();
  for (const MemoryTerm& term : terms) {
    json.push_back({{"name", term.name},
                    {"bytes", term.bytes.value},
                    {"error_bytes", term.error.value},
                    {"because", term.why}});
  }
  return json;
}

Table TermsTable(const std::vector<MemoryTerm>& terms, Bytes total) {
  Table table;
  table.columns = {{"term", "TERM"},
                   {"bytes", "MEMORY", Align::kRight},
                   {"error_bytes", "+/-", Align::kRight},
                   {"because", "BECAUSE", Align::kLeft, false, true}};
  for (const MemoryTerm& term : terms) {
    std::string name = term.name;
    std::replace(name.begin(), name.end(), '_', ' ');
    table.rows.push_back({name, BytesCell(term.bytes), BytesCell(term.error), term.why});
  }
  Bytes error;
  for (const MemoryTerm& term : terms) error += term.error;
  table.rows.push_back({"total", BytesCell(total), BytesCell(error), ""});
  return table;
}

std::string SpaceName(const ServerSpace& space) {
  if (space.gpu.empty()) return "a GPU";
  return space.slice.empty() ? space.gpu : fmt::format("{} of {}", space.slice, space.gpu);
}

std::string FlagsLine(const std::vector<std::string>& flags) {
  return fmt::format("{}", fmt::join(flags, " "));
}

Json SizeJson(const ServerSize& size) {
  Json json = {{"weights_bytes", size.weights.value},
               {"kv_bytes_per_token", size.kv_per_token.value},
               {"kv_bytes_per_sequence", size.kv_per_sequence.value},
               {"kv_cache_bytes", size.kv_cache.value},
               {"kv_tokens", size.kv_tokens},
               {"sequences_that_fit", size.sequences},
               {"activation_bytes", size.activations.value},
               {"overhead_bytes", size.overhead.value},
               {"total_bytes", size.total.value},
               {"error_bytes", size.error.value},
               {"needed_bytes", size.needed.value}};
  if (size.budget) json["budget_bytes"] = size.budget->value;
  if (size.fits) {
    json["fits"] = *size.fits;
    json["because"] = size.because;
  }
  return json;
}

Json SpeedJson(const SpeedAnswer& speed, int concurrency) {
  const auto of = [](const LlmSpeed& at, int batch) {
    return Json{{"batch", batch},
                {"first_token_seconds", at.first_token_seconds},
                {"token_seconds", at.step_seconds},
                {"tokens_per_second", at.tokens_per_second},
                {"bound_by", at.bound},
                {"error_fraction", at.error}};
  };
  Json json = {{"prompt_tokens", speed.prompt},
               {"one", of(speed.one, 1)},
               {"asked", of(speed.asked, concurrency)}};
  if (speed.largest_batch) json["largest_batch_within_slo"] = *speed.largest_batch;
  json["source"] = speed.source;
  json["coefficients"] = speed.coefficients;
  return json;
}

Json ServerJson(const SizedServer& server) {
  const CatalogModel& model = server.model.model;
  Json json = {{"model", model.name},
               {"model_source", server.model.source},
               {"architecture_known", server.model.architecture_known},
               {"parameters", std::llround(model.parameters)},
               {"precision", server.ask.precision},
               {"engine", SizedEngineName(server.engine.engine)}};
  if (!server.engine.version.empty()) json["engine_version"] = server.engine.version;
  json["engine_profile"] = server.engine.profile->label;
  json["engine_source"] = server.engine.profile->source;
  if (!server.space.gpu.empty()) json["gpu"] = server.space.gpu;
  if (!server.space.slice.empty()) json["slice"] = server.space.slice;
  if (server.space.memory) json["memory_bytes"] = server.space.memory->value;
  json["tensor_parallel"] = server.ask.tensor_parallel;
  json["context"] = server.ask.context;
  json["concurrency"] = server.ask.concurrency;
  json["utilization"] = server.ask.utilization;
  json["batched_tokens"] = server.size.steps.tokens;
  json["batched_sequences"] = server.size.steps.sequences;
  json.update(SizeJson(server.size));
  json["terms"] = TermsJson(server.size.terms);
  json["flags"] = server.flags;
  if (server.tuned) {
    json["tuned"] = SizeJson(*server.tuned);
    json["tuned"]["batched_tokens"] = server.tuned->steps.tokens;
    json["tuned"]["batched_sequences"] = server.tuned->steps.sequences;
    json["tuned"]["flags"] = server.tuned_flags;
  }
  if (server.speed) json["speed"] = SpeedJson(*server.speed, server.ask.concurrency);
  if (!model.note.empty()) json["note"] = model.note;
  return json;
}

std::string Headline(const SizedServer& server) {
  const CatalogModel& model = server.model.model;
  std::string line =
      fmt::format("{} ({:.4g} billion parameters, from the {}) in {}, {}{}{}, on {}", model.name,
                  model.parameters / 1e9, server.model.source, server.ask.precision,
                  SizedEngineName(server.engine.engine), server.engine.version.empty() ? "" : " ",
                  server.engine.version, SpaceName(server.space));
  if (server.ask.tensor_parallel > 1) {
    line += fmt::format(", one of {} alike", server.ask.tensor_parallel);
  }
  return line + "\n\n";
}

}  // namespace

Answer ViewServerSize(const SizedServer& server) {
  const ServerSize& size = server.size;
  Answer answer;
  answer.json = {{"format_version", "1.0"}};
  answer.json.update(ServerJson(server));
  answer.blocks.emplace_back(Headline(server));
  answer.blocks.emplace_back(TermsTable(size.terms, size.total));
  std::string text = fmt::format("\nKV cache: {} per token, {} per sequence of {} tokens",
                                 FormatBytes(size.kv_per_token), FormatBytes(size.kv_per_sequence),
                                 server.ask.context);
  if (size.kv_tokens > 0) {
    text +=
        fmt::format("; it holds {} tokens, {:.3g} such sequences", size.kv_tokens, size.sequences);
  }
  text += ".\n";
  if (size.fits) {
    text += fmt::format("{}: {}.\n", *size.fits ? "Fits" : "Does not fit", size.because);
  }
  if (!server.flags.empty()) text += fmt::format("Flags: {}\n", FlagsLine(server.flags));
  if (server.tuned) {
    text += fmt::format("It fits with smaller steps ({} of KV cache, {} tokens): {}\n",
                        FormatBytes(server.tuned->kv_cache), server.tuned->kv_tokens,
                        FlagsLine(server.tuned_flags));
  }
  if (server.speed) {
    const SpeedAnswer& speed = *server.speed;
    text += fmt::format(
        "Speed, +/- {}: first token {:.3g} s after a prompt of {}; {:.0f} tokens/s alone, {:.0f} "
        "for {} at once ({}).\n",
        FormatPercent(speed.asked.error), speed.asked.first_token_seconds, speed.prompt,
        speed.one.tokens_per_second, speed.asked.tokens_per_second, server.ask.concurrency,
        speed.asked.bound);
    if (speed.largest_batch) {
      text +=
          fmt::format("Within the objective given: {} sequences at once.\n", *speed.largest_batch);
    }
  }
  text += fmt::format("Overheads: {}.\n", server.engine.profile->source);
  answer.blocks.emplace_back(std::move(text));
  return answer;
}

Answer ViewComparison(const std::vector<std::vector<SizedServer>>& rows, bool weights_only) {
  Answer answer;
  Table table;
  table.columns = {{"model", "MODEL"},
                   {"precision", "PRECISION"},
                   {"weights_bytes", "WEIGHTS", Align::kRight},
                   {"needed_bytes", "NEEDED", Align::kRight}};
  Json list = Json::array();
  for (const auto& row : rows) {
    if (row.empty()) continue;
    if (list.empty()) {
      for (const SizedServer& server : row) {
        std::string key = server.space.gpu;
        std::transform(key.begin(), key.end(), key.begin(), [](unsigned char c) {
          return std::isalnum(c) ? static_cast<char>(std::tolower(c)) : '_';
        });
        table.columns.push_back({key + "_free_bytes", server.space.gpu, Align::kRight});
      }
    }
    const SizedServer& first = row.front();
    std::vector<Cell> cells = {first.model.model.name, first.ask.precision,
                               BytesCell(first.size.weights), BytesCell(first.size.needed)};
    Json headroom = Json::array();
    for (const SizedServer& server : row) {
      Json entry = {{"gpu", server.space.gpu}, {"needed_bytes", server.size.needed.value}};
      const bool holds = server.space.memory && server.size.needed <= *server.space.memory;
      entry["holds"] = holds;
      if (holds) {
        const Bytes free = *server.space.memory - server.size.needed;
        entry["headroom_bytes"] = free.value;
        cells.push_back({FormatBytes(free) + " free", std::to_string(free.value)});
      } else {
        cells.push_back({"does not fit", ""});
      }
      headroom.push_back(std::move(entry));
    }
    table.rows.push_back(std::move(cells));
    list.push_back({{"model", first.model.model.name},
                    {"precision", first.ask.precision},
                    {"parameters", std::llround(first.model.model.parameters)},
                    {"weights_bytes", first.size.weights.value},
                    {"gpus", std::move(headroom)}});
  }
  const SizedServer& any = rows.front().front();
  answer.json = {{"format_version", "1.0"},
                 {"engine", SizedEngineName(any.engine.engine)},
                 {"context", any.ask.context},
                 {"concurrency", any.ask.concurrency},
                 {"comparison", std::move(list)}};
  answer.blocks.emplace_back(std::move(table));
  if (weights_only) {
    answer.blocks.emplace_back(
        "\nWeights alone: a server needs its KV cache, activations and libraries besides.\n");
    return answer;
  }
  answer.blocks.emplace_back(fmt::format(
      "\nNEEDED holds {} sequence{} of {} tokens in {} with what it needs besides; free is what "
      "the GPU then has left.\n",
      any.ask.concurrency, any.ask.concurrency == 1 ? "" : "s", any.ask.context,
      SizedEngineName(any.engine.engine)));
  return answer;
}

Answer ViewMemoryNeed(const std::string& what, const MemoryNeed& need, const ServerSpace& space) {
  Answer answer;
  const Bytes total = need.total();
  answer.json = {{"format_version", "1.0"},
                 {"what", what},
                 {"gpus", need.gpus},
                 {"total_bytes", total.value},
                 {"error_bytes", need.error().value},
                 {"terms", TermsJson(need.terms)}};
  answer.blocks.emplace_back(what + ", on each GPU\n\n");
  answer.blocks.emplace_back(TermsTable(need.terms, total));
  if (space.memory) {
    const bool fits = total <= *space.memory;
    answer.json["gpu"] = space.gpu;
    answer.json["memory_bytes"] = space.memory->value;
    answer.json["fits"] = fits;
    answer.blocks.emplace_back(fmt::format("\n{}: {} of {} on {}.\n",
                                           fits ? "Fits" : "Does not fit", FormatBytes(total),
                                           FormatBytes(*space.memory), SpaceName(space)));
  }
  return answer;
}

}  // namespace tranche
