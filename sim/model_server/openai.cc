#include "sim/model_server/openai.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/json.h"

namespace tranche::sim {
namespace {

constexpr int kDefaultTokens = 16;       // of a text completion, as OpenAI has it
constexpr int kDefaultChatTokens = 256;  // of a chat, which OpenAI leaves to the model
constexpr size_t kMaxStops = 4;

constexpr std::array kWords = {
    "the",    "slice", "holds",     "its",  "memory", "and",   "reads", "every",
    "weight", "once",  "for",       "each", "token",  "so",    "that",  "a",
    "share",  "of",    "bandwidth", "sets", "how",    "fast",  "it",    "speaks",
    "while",  "other", "tenants",   "keep", "to",     "their", "own",   "part"};

uint64_t Hash(std::string_view text, uint64_t hash = 0xcbf29ce484222325) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

tl::unexpected<ApiError> Bad(std::string param, std::string message) {
  return tl::unexpected(
      ApiError{400, "invalid_request_error", "", std::move(param), std::move(message)});
}

// The member, or nullptr when it is missing or null.
const Json* Member(const Json& body, const char* key) {
  const auto found = body.find(key);
  return found == body.end() || found->is_null() ? nullptr : &*found;
}

// A flag that may be left out.
tl::expected<bool, ApiError> Flag(const Json& body, const char* key) {
  const Json* member = Member(body, key);
  if (member == nullptr) return false;
  if (!member->is_boolean()) return Bad(key, fmt::format("'{}' must be true or false", key));
  return member->get<bool>();
}

struct Prompt {
  int tokens = 0;
  uint64_t seed = 0;
};

tl::expected<Prompt, ApiError> ReadPrompt(const Json& body) {
  const Json* prompt = Member(body, "prompt");
  if (prompt == nullptr) return Bad("prompt", "'prompt' is missing");
  const Json* text = prompt;
  if (prompt->is_array() && prompt->size() == 1 && prompt->front().is_string())
    text = &prompt->front();
  if (text->is_string()) {
    const auto& value = text->get_ref<const std::string&>();
    return Prompt{CountTokens(value), Hash(value)};
  }
  const bool tokens = prompt->is_array() && !prompt->empty() &&
                      std::all_of(prompt->begin(), prompt->end(),
                                  [](const Json& one) { return one.is_number_unsigned(); });
  if (tokens) return Prompt{static_cast<int>(prompt->size()), Hash(prompt->dump())};
  return Bad("prompt", "'prompt' must be one text, or a list of tokens");
}

// The text of a message: a string, or parts of type "text".
std::optional<std::string> ContentOf(const Json& message) {
  const Json* content = Member(message, "content");
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) return {};
  std::string text;
  for (const Json& part : *content) {
    const Json* words = part.is_object() ? Member(part, "text") : nullptr;
    if (words == nullptr || !words->is_string()) return {};
    text += words->get_ref<const std::string&>();
  }
  return text;
}

tl::expected<Prompt, ApiError> ReadMessages(const Json& body) {
  // What a chat template adds around each message.
  constexpr int kTokensPerMessage = 4;
  const Json* messages = Member(body, "messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    return Bad("messages", "'messages' must be a list of at least one message");
  }
  Prompt prompt{0, Hash("")};
  for (size_t i = 0; i < messages->size(); ++i) {
    const Json& message = (*messages)[i];
    const Json* role = message.is_object() ? Member(message, "role") : nullptr;
    const auto text = role != nullptr && role->is_string() ? ContentOf(message) : std::nullopt;
    if (!text) {
      return Bad(fmt::format("messages[{}]", i),
                 fmt::format("messages[{}] must have a 'role' and a 'content' of text", i));
    }
    prompt.tokens += CountTokens(*text) + kTokensPerMessage;
    prompt.seed = Hash(*text, Hash(role->get_ref<const std::string&>(), prompt.seed));
  }
  return prompt;
}

tl::expected<std::vector<std::string>, ApiError> ReadStop(const Json& body) {
  const Json* stop = Member(body, "stop");
  if (stop == nullptr) return std::vector<std::string>{};
  std::vector<std::string> all;
  const Json list = stop->is_array() ? *stop : Json::array({*stop});
  for (const Json& one : list) {
    if (!one.is_string() || one.get_ref<const std::string&>().empty()) {
      return Bad("stop", "'stop' must be a text or a list of texts, none of them empty");
    }
    all.push_back(one.get<std::string>());
  }
  if (all.size() > kMaxStops) return Bad("stop", "'stop' may hold four texts at most");
  return all;
}

// Members that must be numbers in a range when they are there. They change nothing: the text is
// filler.
tl::expected<void, ApiError> CheckNumbers(const Json& body) {
  struct Range {
    const char* key;
    double low, high;
  };
  for (const Range& range : {Range{"temperature", 0, 2}, Range{"top_p", 0, 1},
                             Range{"presence_penalty", -2, 2}, Range{"frequency_penalty", -2, 2}}) {
    const Json* member = Member(body, range.key);
    if (member == nullptr) continue;
    const double value = member->is_number() ? member->get<double>() : range.high + 1;
    if (value < range.low || value > range.high) {
      return Bad(range.key, fmt::format("'{}' must be a number from {} to {}", range.key, range.low,
                                        range.high));
    }
  }
  const Json* n = Member(body, "n");
  if (n != nullptr && (!n->is_number_integer() || n->get<int64_t>() != 1)) {
    return Bad("n", "this server gives one answer at a time: 'n' must be 1");
  }
  return {};
}

// How many tokens were asked for, and whether anybody did.
tl::expected<std::optional<int>, ApiError> ReadMaxTokens(const Json& body, bool chat) {
  const char* key = chat && Member(body, "max_completion_tokens") != nullptr
                        ? "max_completion_tokens"
                        : "max_tokens";
  const Json* member = Member(body, key);
  if (member == nullptr) return std::optional<int>();
  if (!member->is_number_integer() || member->get<int64_t>() < 1 ||
      member->get<int64_t>() > INT32_MAX) {
    return Bad(key, fmt::format("'{}' must be a positive number", key));
  }
  return std::optional<int>(static_cast<int>(member->get<int64_t>()));
}

tl::expected<int, ApiError> FitIntoContext(int prompt, std::optional<int> asked, bool chat,
                                           const ServedModel& model) {
  const int room = model.context - prompt;
  const int wanted = asked.value_or(1);
  if (room < 1 || wanted > room) {
    ApiError error;
    error.code = "context_length_exceeded";
    error.param = chat ? "messages" : "prompt";
    error.message = fmt::format(
        "this model's context is {} tokens, but {} were asked for ({} in the prompt, {} for the "
        "answer); "
        "shorten the prompt or ask for a shorter answer",
        model.context, static_cast<int64_t>(prompt) + wanted, prompt, wanted);
    return tl::unexpected(std::move(error));
  }
  return asked ? *asked : std::min(room, chat ? kDefaultChatTokens : kDefaultTokens);
}

Json Usage(const Completion& completion) {
  Json usage = Json::object();
  usage["prompt_tokens"] = completion.ask.prompt_tokens;
  usage["completion_tokens"] = completion.tokens;
  usage["total_tokens"] = completion.ask.prompt_tokens + completion.tokens;
  return usage;
}

Json Header(const Completion& completion, const std::string& model, bool chunk) {
  Json header = Json::object();
  header["id"] = completion.id;
  header["object"] = !completion.ask.chat ? "text_completion"
                     : chunk              ? "chat.completion.chunk"
                                          : "chat.completion";
  header["created"] = completion.created;
  header["model"] = model;
  return header;
}

Json FinishReason(const Completion& completion) {
  return completion.finish_reason.empty() ? Json(nullptr) : Json(completion.finish_reason);
}

std::string Event(const Json& json) { return "data: " + PrintJsonLine(json) + "\n\n"; }

std::string Chunk(const Completion& completion, const std::string& model, const Json& delta,
                  const Json& finish) {
  Json chunk = Header(completion, model, true);
  Json choice = Json::object();
  choice["index"] = 0;
  if (completion.ask.chat) {
    choice["delta"] = delta;
  } else {
    choice["text"] = delta.value("content", "");
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = finish;
  chunk["choices"] = Json::array({choice});
  return Event(chunk);
}

}  // namespace

int CountTokens(std::string_view text) { return static_cast<int>((text.size() + 3) / 4); }

std::string FillerToken(const std::string& model, uint64_t seed, int index) {
  switch (index) {
    case 0:
      return "This";
    case 1:
      return " is";
    case 2:
      return " " + model + ":";
    default:
      return std::string(" ") + kWords[Mix(seed + static_cast<uint64_t>(index)) % kWords.size()];
  }
}

int FillerLength(const std::string& model, uint64_t seed) {
  return 32 + static_cast<int>(Mix(Hash(model, seed)) % 32);
}

tl::expected<CompletionAsk, ApiError> ParseCompletion(bool chat, std::string_view text,
                                                      const ServedModel& model) {
  const auto body = ParseJson(text);
  if (!body) return Bad("", "the body is not JSON: " + body.error().message);
  if (!body->is_object()) return Bad("", "the body must be a JSON object");
  if (const Json* name = Member(*body, "model"); name != nullptr) {
    if (!name->is_string()) return Bad("model", "'model' must be a text");
    if (name->get_ref<const std::string&>() != model.name) {
      return tl::unexpected(ApiError{404, "not_found_error", "model_not_found", "model",
                                     fmt::format("there is no model '{}' here, only '{}'",
                                                 name->get_ref<const std::string&>(), model.name)});
    }
  }
  CompletionAsk ask;
  ask.chat = chat;
  const auto prompt = chat ? ReadMessages(*body) : ReadPrompt(*body);
  if (!prompt) return tl::unexpected(prompt.error());
  ask.prompt_tokens = prompt->tokens;
  ask.seed = prompt->seed;
  const auto asked = ReadMaxTokens(*body, chat);
  if (!asked) return tl::unexpected(asked.error());
  const auto max_tokens = FitIntoContext(prompt->tokens, *asked, chat, model);
  if (!max_tokens) return tl::unexpected(max_tokens.error());
  ask.max_tokens = *max_tokens;
  if (auto checked = CheckNumbers(*body); !checked) return tl::unexpected(checked.error());
  auto stop = ReadStop(*body);
  if (!stop) return tl::unexpected(stop.error());
  ask.stop = std::move(*stop);
  const auto stream = Flag(*body, "stream"), ignore_eos = Flag(*body, "ignore_eos");
  if (!stream) return tl::unexpected(stream.error());
  if (!ignore_eos) return tl::unexpected(ignore_eos.error());
  ask.stream = *stream;
  ask.ignore_eos = *ignore_eos;
  if (const Json* options = Member(*body, "stream_options"); options != nullptr) {
    if (!options->is_object() || !ask.stream) {
      return Bad("stream_options", "'stream_options' must be an object, and 'stream' true");
    }
    const auto include = Flag(*options, "include_usage");
    if (!include) return tl::unexpected(include.error());
    ask.include_usage = *include;
  }
  return ask;
}

std::string Grow(Completion* completion, const std::string& model) {
  const CompletionAsk& ask = completion->ask;
  std::string token = FillerToken(model, ask.seed, completion->tokens);
  const size_t before = completion->text.size();
  completion->text += token;
  ++completion->tokens;
  for (const std::string& stop : ask.stop) {
    // It may begin in an earlier token; what was shown of it cannot be taken back.
    const size_t from = before > stop.size() ? before - stop.size() : 0;
    const size_t at = completion->text.find(stop, from);
    if (at == std::string::npos) continue;
    completion->text.resize(std::max(at, ask.stream ? before : size_t{0}));
    completion->finish_reason = "stop";
    return completion->text.size() > before ? completion->text.substr(before) : "";
  }
  if (!ask.ignore_eos && completion->tokens >= FillerLength(model, ask.seed)) {
    completion->finish_reason = "stop";
  } else if (completion->tokens >= ask.max_tokens) {
    completion->finish_reason = "length";
  }
  return token;
}

std::string CompletionBody(const Completion& completion, const std::string& model) {
  Json body = Header(completion, model, false);
  Json choice = Json::object();
  choice["index"] = 0;
  if (completion.ask.chat) {
    choice["message"] = {{"role", "assistant"}, {"content", completion.text}};
  } else {
    choice["text"] = completion.text;
  }
  choice["logprobs"] = nullptr;
  choice["finish_reason"] = FinishReason(completion);
  body["choices"] = Json::array({choice});
  body["usage"] = Usage(completion);
  return PrintJsonLine(body);
}

std::string StreamBegin(const Completion& completion, const std::string& model) {
  if (!completion.ask.chat) return "";
  return Chunk(completion, model, {{"role", "assistant"}, {"content", ""}}, nullptr);
}

std::string StreamToken(const Completion& completion, const std::string& model,
                        const std::string& text) {
  return Chunk(completion, model, {{"content", text}}, nullptr);
}

std::string StreamEnd(const Completion& completion, const std::string& model) {
  std::string end = Chunk(completion, model, Json::object(), FinishReason(completion));
  if (completion.ask.include_usage) {
    Json usage = Header(completion, model, true);
    usage["choices"] = Json::array();
    usage["usage"] = Usage(completion);
    end += Event(usage);
  }
  return end + "data: [DONE]\n\n";
}

std::string ModelsBody(const ServedModel& model) {
  Json entry = Json::object();
  entry["id"] = model.name;
  entry["object"] = "model";
  entry["created"] = model.created;
  entry["owned_by"] = "tranche";
  entry["max_model_len"] = model.context;
  Json body = Json::object();
  body["object"] = "list";
  body["data"] = Json::array({entry});
  return PrintJsonLine(body);
}

std::string ErrorBody(const ApiError& error) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
  };
  Json inner = Json::object();
  inner["message"] = error.message;
  inner["type"] = error.type;
  inner["param"] = text_or_null(error.param);
  inner["code"] = text_or_null(error.code);
  Json body = Json::object();
  body["error"] = inner;
  return PrintJsonLine(body);
}

}  // namespace tranche::sim
