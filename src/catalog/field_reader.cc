#include "catalog/field_reader.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "base/suggest.h"

namespace tranche::catalog {
namespace {

YamlNode NodeOf(YamlNode::Kind kind) {
  YamlNode node;
  node.kind = kind;
  return node;
}

const YamlNode& EmptyNode(YamlNode::Kind kind) {
  static const YamlNode kMap = NodeOf(YamlNode::Kind::kMap);
  static const YamlNode kSequence = NodeOf(YamlNode::Kind::kSequence);
  return kind == YamlNode::Kind::kMap ? kMap : kSequence;
}

}  // namespace

void Mistakes::Add(const YamlNode& at, const std::string& message) {
  messages_.push_back(fmt::format("{}:{}:{}: {}", file_, at.line, at.column, message));
}

Status Mistakes::status() const {
  if (messages_.empty()) return {};
  return Fail(ErrorCode::kInvalid, fmt::format("{}", fmt::join(messages_, "\n")));
}

std::optional<int> IntOf(const YamlNode& node, int min, int max) {
  if (!node.IsScalar() || node.quoted) return std::nullopt;
  int value = 0;
  const char* end = node.scalar.data() + node.scalar.size();
  const auto [stop, error] = std::from_chars(node.scalar.data(), end, value);
  if (error != std::errc() || stop != end || value < min || value > max) return std::nullopt;
  return value;
}

std::optional<double> NumberOf(const YamlNode& node, double min, double max) {
  if (!node.IsScalar() || node.quoted) return std::nullopt;
  double value = 0;
  const char* end = node.scalar.data() + node.scalar.size();
  const auto [stop, error] = std::from_chars(node.scalar.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) return std::nullopt;
  if (value < min || value > max) return std::nullopt;
  return value;
}

std::optional<Confidence> ConfidenceOf(const std::string& text) {
  for (Confidence confidence : {Confidence::kLow, Confidence::kMedium, Confidence::kHigh}) {
    if (text == ConfidenceName(confidence)) return confidence;
  }
  return std::nullopt;
}

FieldReader::FieldReader(const YamlNode& node, Mistakes* mistakes)
    : node_(node), mistakes_(mistakes) {
  if (!node.IsMap()) mistakes_->Add(node, "expected a mapping");
}

FieldReader::~FieldReader() {
  for (const auto& [key, value] : node_.members) {
    if (read_.contains(key.scalar)) continue;
    const std::vector<std::string> known(read_.begin(), read_.end());
    const std::string hint = DidYouMean(key.scalar, known);
    mistakes_->Add(key,
                   fmt::format("unknown key '{}'{}", key.scalar, hint.empty() ? "" : "; " + hint));
  }
}

const YamlNode* FieldReader::Take(const char* key, YamlNode::Kind kind, const char* kind_name) {
  read_.insert(key);
  const YamlNode* found = node_.Find(key);
  if (found == nullptr) {
    mistakes_->Add(node_, fmt::format("missing '{}'", key));
    return nullptr;
  }
  if (found->kind == kind) return found;
  mistakes_->Add(*found, fmt::format("'{}' must be {}", key, kind_name));
  return nullptr;
}

void FieldReader::Wrong(const char* key, const std::string& message) {
  const YamlNode* found = node_.Find(key);
  mistakes_->Add(found == nullptr ? node_ : *found, fmt::format("'{}' {}", key, message));
}

std::string FieldReader::Text(const char* key) {
  const YamlNode* found = Take(key, YamlNode::Kind::kScalar, "text");
  if (found == nullptr) return "";
  if (found->scalar.empty()) Wrong(key, "is empty");
  return found->scalar;
}

std::string FieldReader::TextOr(const char* key, const char* absent) {
  if (!Has(key)) {
    read_.insert(key);
    return absent;
  }
  return Text(key);
}

int FieldReader::Int(const char* key, int min, int max) {
  const YamlNode* found = Take(key, YamlNode::Kind::kScalar, "a whole number");
  if (found == nullptr) return min;
  const std::optional<int> value = IntOf(*found, min, max);
  if (!value) Wrong(key, fmt::format("must be a whole number from {} to {}", min, max));
  return value.value_or(min);
}

int FieldReader::IntOr(const char* key, int absent, int min, int max) {
  if (!Has(key)) {
    read_.insert(key);
    return absent;
  }
  return Int(key, min, max);
}

std::optional<int> FieldReader::IntOrNull(const char* key, int min, int max) {
  const YamlNode* found = node_.Find(key);
  if (found != nullptr && found->IsNull()) {
    read_.insert(key);
    return std::nullopt;
  }
  return Int(key, min, max);
}

double FieldReader::Number(const char* key, double min, double max) {
  const YamlNode* found = Take(key, YamlNode::Kind::kScalar, "a number");
  if (found == nullptr) return min;
  const std::optional<double> value = NumberOf(*found, min, max);
  if (!value) Wrong(key, fmt::format("must be a number from {} to {}", min, max));
  return value.value_or(min);
}

std::optional<double> FieldReader::NumberOrNull(const char* key, double min, double max) {
  const YamlNode* found = node_.Find(key);
  if (found != nullptr && found->IsNull()) {
    read_.insert(key);
    return std::nullopt;
  }
  return Number(key, min, max);
}

bool FieldReader::Bool(const char* key) {
  const YamlNode* found = Take(key, YamlNode::Kind::kScalar, "true or false");
  if (found == nullptr) return false;
  if (found->quoted || (found->scalar != "true" && found->scalar != "false")) {
    Wrong(key, "must be true or false");
  }
  return found->scalar == "true";
}

Confidence FieldReader::ReadConfidence(const char* key) {
  const YamlNode* found = Take(key, YamlNode::Kind::kScalar, "low, medium or high");
  if (found == nullptr) return Confidence::kLow;
  const std::optional<Confidence> confidence = ConfidenceOf(found->scalar);
  if (!confidence) Wrong(key, "must be low, medium or high");
  return confidence.value_or(Confidence::kLow);
}

std::vector<std::string> FieldReader::Texts(const char* key) {
  std::vector<std::string> texts;
  for (const YamlNode& item : Sequence(key).items) {
    if (!item.IsScalar() || item.scalar.empty()) {
      Wrong(key, "must be a list of texts");
      return {};
    }
    texts.push_back(item.scalar);
  }
  return texts;
}

std::vector<std::string> FieldReader::TextsOrNone(const char* key) {
  if (!Has(key)) {
    read_.insert(key);
    return {};
  }
  return Texts(key);
}

std::vector<int> FieldReader::Ints(const char* key, int min, int max) {
  std::vector<int> values;
  for (const YamlNode& item : Sequence(key).items) {
    const std::optional<int> value = IntOf(item, min, max);
    if (!value) {
      Wrong(key, fmt::format("must be a list of whole numbers from {} to {}", min, max));
      return {};
    }
    values.push_back(*value);
  }
  return values;
}

const YamlNode& FieldReader::Map(const char* key) {
  const YamlNode* found = Take(key, YamlNode::Kind::kMap, "a mapping");
  return found != nullptr ? *found : EmptyNode(YamlNode::Kind::kMap);
}

const YamlNode& FieldReader::Sequence(const char* key) {
  const YamlNode* found = Take(key, YamlNode::Kind::kSequence, "a list");
  return found != nullptr ? *found : EmptyNode(YamlNode::Kind::kSequence);
}

const YamlNode* FieldReader::Optional(const char* key) {
  read_.insert(key);
  return node_.Find(key);
}

Result<YamlNode> ParseData(const std::string& file, std::string_view text) {
  auto parsed = ParseYaml(text);
  if (parsed) return std::move(*parsed);
  return Fail(ErrorCode::kInvalid, fmt::format("{}:{}:{}: {}", file, parsed.error().line,
                                               parsed.error().column, parsed.error().message));
}

}  // namespace tranche::catalog
