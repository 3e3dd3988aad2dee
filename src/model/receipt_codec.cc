#include <fmt/format.h>

#include <limits>

#include "base/json.h"
#include "model/receipt.h"

namespace tranche {
namespace {

constexpr const char* kFormatVersion = "1.0";

constexpr ErrorCode kErrorCodes[] = {
    ErrorCode::kFailed,     ErrorCode::kDoesNotFit,  ErrorCode::kStale,
    ErrorCode::kPartial,    ErrorCode::kBusy,        ErrorCode::kInvalid,
    ErrorCode::kNotFound,   ErrorCode::kUnsupported, ErrorCode::kUnavailable,
    ErrorCode::kPermission, ErrorCode::kInterrupted,
};

constexpr StepOutcome kStepOutcomes[] = {StepOutcome::kDone,       StepOutcome::kSkipped,
                                         StepOutcome::kFailed,     StepOutcome::kUndone,
                                         StepOutcome::kUndoFailed, StepOutcome::kNotRun};

constexpr ApplyOutcome kApplyOutcomes[] = {ApplyOutcome::kDone, ApplyOutcome::kRolledBack,
                                           ApplyOutcome::kPartial};

// The value of `all` that is called `name`; notes an unknown name in `reader`.
template <typename Enum, size_t n>
Enum Named(JsonReader& reader, const char* key, const Enum (&all)[n],
           const char* (*name_of)(Enum)) {
  const std::string name = reader.String(key);
  for (const Enum value : all) {
    if (name == name_of(value)) return value;
  }
  reader.Add(Fail(ErrorCode::kInvalid,
                  fmt::format("{}.{} is '{}', which is not known", reader.where(), key, name)));
  return all[0];
}

Time ReadTime(JsonReader& reader, const char* key) {
  const std::string text = reader.String(key);
  const Result<Time> time = ParseTime(text);
  if (time) return *time;
  reader.Add(FailedWhile(fmt::format("{}.{}", reader.where(), key), time.error()));
  return Time();
}

StepReceipt ReadStep(const Json& json, const std::string& where, JsonReader& parent) {
  JsonReader reader(json, where);
  StepReceipt receipt;
  if (Result<Step> step = StepFromJson(reader.Object("step"))) {
    receipt.step = std::move(*step);
  } else {
    reader.Add(FailedWhile(where, step.error()));
  }
  receipt.outcome = Named(reader, "outcome", kStepOutcomes, StepOutcomeName);
  receipt.detail = reader.String("detail");
  receipt.started = ReadTime(reader, "started");
  receipt.finished = ReadTime(reader, "finished");
  parent.Add(reader.status());
  return receipt;
}

}  // namespace

const char* StepOutcomeName(StepOutcome outcome) {
  switch (outcome) {
    case StepOutcome::kDone:
      return "done";
    case StepOutcome::kSkipped:
      return "skipped";
    case StepOutcome::kFailed:
      return "failed";
    case StepOutcome::kUndone:
      return "undone";
    case StepOutcome::kUndoFailed:
      return "undo_failed";
    case StepOutcome::kNotRun:
      return "not_run";
  }
  return "not_run";
}

const char* ApplyOutcomeName(ApplyOutcome outcome) {
  switch (outcome) {
    case ApplyOutcome::kDone:
      return "done";
    case ApplyOutcome::kRolledBack:
      return "rolled_back";
    case ApplyOutcome::kPartial:
      return "partial";
  }
  return "partial";
}

Json ToJson(const Error& error) {
  Json json;
  json["code"] = ErrorCodeName(error.code);
  json["message"] = error.message;
  if (!error.hint.empty()) json["hint"] = error.hint;
  return json;
}

Result<Error> ErrorFromJson(const Json& json) {
  JsonReader reader(json, "error");
  Error error;
  error.code = Named(reader, "code", kErrorCodes, ErrorCodeName);
  error.message = reader.String("message");
  if (reader.Has("hint")) error.hint = reader.String("hint");
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return error;
}

Json ToJson(const StepReceipt& receipt) {
  Json json;
  json["step"] = ToJson(receipt.step);
  json["outcome"] = StepOutcomeName(receipt.outcome);
  json["detail"] = receipt.detail;
  json["started"] = FormatTime(receipt.started);
  json["finished"] = FormatTime(receipt.finished);
  return json;
}

Result<StepReceipt> StepReceiptFromJson(const Json& json) {
  JsonReader reader(json, "step_receipt");
  StepReceipt receipt = ReadStep(json, "step_receipt", reader);
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return receipt;
}

Json ToJson(const Receipt& receipt) {
  Json json;
  json["format_version"] = kFormatVersion;
  json["plan_id"] = receipt.plan_id;
  json["outcome"] = ApplyOutcomeName(receipt.outcome);
  Json steps = Json::array();
  for (const StepReceipt& step : receipt.steps) steps.push_back(ToJson(step));
  json["steps"] = std::move(steps);
  if (receipt.error) json["error"] = ToJson(*receipt.error);
  json["started"] = FormatTime(receipt.started);
  json["finished"] = FormatTime(receipt.finished);
  return json;
}

Result<Receipt> ReceiptFromJson(const Json& json) {
  JsonReader reader(json, "receipt");
  Receipt receipt;
  receipt.plan_id = reader.String("plan_id");
  receipt.outcome = Named(reader, "outcome", kApplyOutcomes, ApplyOutcomeName);
  for (const Json& step : reader.Array("steps")) {
    const std::string where = fmt::format("receipt.steps[{}]", receipt.steps.size());
    receipt.steps.push_back(ReadStep(step, where, reader));
  }
  if (reader.Has("error")) {
    if (Result<Error> error = ErrorFromJson(reader.Object("error"))) {
      receipt.error = std::move(*error);
    } else {
      reader.Add(FailedWhile("receipt", error.error()));
    }
  }
  receipt.started = ReadTime(reader, "started");
  receipt.finished = ReadTime(reader, "finished");
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return receipt;
}

}  // namespace tranche
