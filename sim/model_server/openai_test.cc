#include "sim/model_server/openai.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"

namespace tranche::sim {
namespace {

using testing::HasSubstr;

const ServedModel kModel = {"phi-4", 100, 1700000000};

CompletionAsk Ask(bool chat, const std::string& body) {
  const auto ask = ParseCompletion(chat, body, kModel);
  EXPECT_TRUE(ask) << ask.error().message;
  return ask.value_or(CompletionAsk{});
}

ApiError Refused(bool chat, const std::string& body) {
  const auto ask = ParseCompletion(chat, body, kModel);
  EXPECT_FALSE(ask) << body;
  return ask ? ApiError{0, "", "", "", ""} : ask.error();
}

Completion Finish(const CompletionAsk& ask) {
  Completion completion;
  completion.ask = ask;
  completion.id = "cmpl-1";
  while (completion.finish_reason.empty()) Grow(&completion, kModel.name);
  return completion;
}

TEST(OpenAiTest, ReadsACompletion) {
  const auto ask =
      Ask(false, R"({"model":"phi-4","prompt":"Hello there","max_tokens":7,"temperature":0.5})");
  EXPECT_FALSE(ask.chat);
  EXPECT_EQ(ask.prompt_tokens, 3);
  EXPECT_EQ(ask.max_tokens, 7);
  EXPECT_FALSE(ask.stream);
}

TEST(OpenAiTest, ReadsAChat) {
  const auto ask =
      Ask(true, R"({"messages":[{"role":"system","content":"Be brief"},{"role":"user","content":
      [{"type":"text","text":"Hi"}]}],"max_completion_tokens":5,"stream":true,
      "stream_options":{"include_usage":true},"stop":"x"})");
  EXPECT_TRUE(ask.chat);
  EXPECT_EQ(ask.prompt_tokens, 2 + 4 + 1 + 4);
  EXPECT_EQ(ask.max_tokens, 5);
  EXPECT_TRUE(ask.stream);
  EXPECT_TRUE(ask.include_usage);
  EXPECT_EQ(ask.stop, std::vector<std::string>{"x"});
}

TEST(OpenAiTest, HasDefaults) {
  EXPECT_EQ(Ask(false, R"({"prompt":"x"})").max_tokens, 16);
  EXPECT_EQ(Ask(false, R"({"prompt":[1,2,3],"stop":null})").prompt_tokens, 3);
  EXPECT_EQ(Ask(true, R"({"messages":[{"role":"user","content":"x"}]})").max_tokens, 95)
      << "what the context leaves";
}

TEST(OpenAiTest, RefusesWhatItCannotRead) {
  for (const char* body :
       {"", "{", "[]", "{}", R"({"prompt":1})", R"({"prompt":["a","b"]})", R"({"prompt":[]})",
        R"({"prompt":"x","max_tokens":0})", R"({"prompt":"x","max_tokens":-1})",
        R"({"prompt":"x","max_tokens":1.5})", R"({"prompt":"x","max_tokens":1e30})",
        R"({"prompt":"x","stream":"yes"})", R"({"prompt":"x","n":2})",
        R"({"prompt":"x","temperature":3})", R"({"prompt":"x","temperature":"hot"})",
        R"({"prompt":"x","stop":[""]})", R"({"prompt":"x","stop":["a","b","c","d","e"]})",
        R"({"prompt":"x","stream_options":{}})", R"({"prompt":"x","model":4})"}) {
    const auto error = Refused(false, body);
    EXPECT_EQ(error.status, 400) << body;
    EXPECT_EQ(error.type, "invalid_request_error") << body;
    EXPECT_FALSE(error.message.empty()) << body;
  }
  for (const char* body :
       {R"({"prompt":"x"})", R"({"messages":[]})", R"({"messages":["x"]})",
        R"({"messages":[{"content":"x"}]})", R"({"messages":[{"role":"user","content":3}]})",
        R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})"}) {
    EXPECT_EQ(Refused(true, body).status, 400) << body;
  }
  EXPECT_EQ(Refused(false, std::string(100000, '[')).status, 400);
}

TEST(OpenAiTest, AnotherModelIsNotFound) {
  const auto error = Refused(false, R"({"model":"gpt-4","prompt":"x"})");
  EXPECT_EQ(error.status, 404);
  EXPECT_EQ(error.code, "model_not_found");
  EXPECT_THAT(error.message, HasSubstr("phi-4"));
}

TEST(OpenAiTest, WhatDoesNotFitIntoTheContextIsRefused) {
  EXPECT_EQ(Ask(false, R"({"prompt":"abcd","max_tokens":99})").max_tokens, 99);
  const auto error = Refused(false, R"({"prompt":"abcd","max_tokens":100})");
  EXPECT_EQ(error.status, 400);
  EXPECT_EQ(error.code, "context_length_exceeded");
  EXPECT_THAT(error.message, HasSubstr("100 tokens, but 101"));
  EXPECT_EQ(Refused(false, R"({"prompt":")" + std::string(400, 'x') + R"("})").code,
            "context_length_exceeded");
  EXPECT_EQ(Refused(false, R"({"prompt":"abcd","max_tokens":2147483647})").code,
            "context_length_exceeded");
}

TEST(OpenAiTest, TheTextSaysWhichModelAnsweredAndIsTheSameEachTime) {
  const auto ask = Ask(false, R"({"prompt":"Hello","max_tokens":12})");
  const auto completion = Finish(ask);
  EXPECT_TRUE(completion.text.starts_with("This is phi-4:")) << completion.text;
  EXPECT_EQ(completion.tokens, 12);
  EXPECT_EQ(completion.finish_reason, "length");
  EXPECT_EQ(Finish(ask).text, completion.text);
  EXPECT_NE(Finish(Ask(false, R"({"prompt":"Goodbye","max_tokens":12})")).text, completion.text);
}

TEST(OpenAiTest, ItEndsByItselfUnlessToldNotTo) {
  const auto itself = Finish(Ask(false, R"({"prompt":"x","max_tokens":99})"));
  EXPECT_EQ(itself.finish_reason, "stop");
  EXPECT_LT(itself.tokens, 99);
  EXPECT_EQ(Finish(Ask(false, R"({"prompt":"x","max_tokens":99,"ignore_eos":true})")).tokens, 99);
}

TEST(OpenAiTest, AStopSequenceEndsItAndIsNotShown) {
  const auto completion = Finish(Ask(false, R"({"prompt":"x","stop":["s phi","4:"]})"));
  EXPECT_EQ(completion.text, "This i");
  EXPECT_EQ(completion.finish_reason, "stop");
}

TEST(OpenAiTest, AnswersAreWhatClientsExpect) {
  const auto text =
      ParseJson(CompletionBody(Finish(Ask(false, R"({"prompt":"abcd","max_tokens":3})")), "phi-4"));
  ASSERT_TRUE(text);
  EXPECT_EQ((*text)["object"], "text_completion");
  EXPECT_EQ((*text)["model"], "phi-4");
  EXPECT_EQ((*text)["choices"][0]["text"], "This is phi-4:");
  EXPECT_EQ((*text)["choices"][0]["finish_reason"], "length");
  EXPECT_EQ((*text)["usage"]["total_tokens"], 4);
  const auto chat = ParseJson(CompletionBody(
      Finish(Ask(true, R"({"messages":[{"role":"user","content":"x"}],"max_tokens":3})")),
      "phi-4"));
  ASSERT_TRUE(chat);
  EXPECT_EQ((*chat)["object"], "chat.completion");
  EXPECT_EQ((*chat)["choices"][0]["message"]["role"], "assistant");
  EXPECT_EQ((*chat)["choices"][0]["message"]["content"], "This is phi-4:");
  const auto models = ParseJson(ModelsBody(kModel));
  EXPECT_EQ((*models)["data"][0]["id"], "phi-4");
  const auto error =
      ParseJson(ErrorBody({400, "invalid_request_error", "", "prompt", "a \"quoted\" reason"}));
  EXPECT_EQ((*error)["error"]["message"], "a \"quoted\" reason");
  EXPECT_TRUE((*error)["error"]["code"].is_null());
}

}  // namespace
}  // namespace tranche::sim
