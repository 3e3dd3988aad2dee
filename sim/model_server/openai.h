#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

// What OpenAI's HTTP interface looks like, as far as a stand-in needs it. Pure.
namespace tranche::sim {

struct ServedModel {
  std::string name;
  int context = 4096;   // tokens of prompt and answer together
  int64_t created = 0;  // seconds since the epoch
};

struct ApiError {
  int status = 400;
  std::string type = "invalid_request_error";
  std::string code;   // "" = null
  std::string param;  // likewise
  std::string message;
};

struct CompletionAsk {
  bool chat = false;
  int prompt_tokens = 0;
  uint64_t seed = 0;  // a digest of the prompt: the same prompt gets the same answer
  int max_tokens = 16;
  bool ignore_eos = false;  // go on to max_tokens
  bool stream = false;
  bool include_usage = false;  // of a stream: one more chunk at the end
  std::vector<std::string> stop;
};

// Reads the body of POST /v1/completions or /v1/chat/completions.
tl::expected<CompletionAsk, ApiError> ParseCompletion(bool chat, std::string_view body,
                                                      const ServedModel& model);

// Tokens of a text: one for every four bytes that begin, as a rule of thumb.
int CountTokens(std::string_view text);

// The words that a model "generates" for a prompt: token number `index`, and after how many it has
// said all.
std::string FillerToken(const std::string& model, uint64_t seed, int index);
int FillerLength(const std::string& model, uint64_t seed);

// One answer as it grows.
struct Completion {
  CompletionAsk ask;
  std::string id;
  int64_t created = 0;
  std::string text;
  int tokens = 0;
  std::string finish_reason;  // "" while it grows
};

// Adds the next token; returns what of it is to be shown (a stop sequence is not). Sets
// finish_reason when that was the end.
std::string Grow(Completion* completion, const std::string& model);

std::string CompletionBody(const Completion& completion, const std::string& model);
// The `data:` events of a stream: what begins it ("" for text completions), what a token adds, and
// what ends it.
std::string StreamBegin(const Completion& completion, const std::string& model);
std::string StreamToken(const Completion& completion, const std::string& model,
                        const std::string& text);
std::string StreamEnd(const Completion& completion, const std::string& model);

std::string ModelsBody(const ServedModel& model);
std::string ErrorBody(const ApiError& error);

}  // namespace tranche::sim
