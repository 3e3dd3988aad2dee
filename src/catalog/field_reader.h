#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/yaml.h"
#include "catalog/catalog.h"

namespace tranche::catalog {

// Collects what is wrong with one data file: "mig.yaml:12:5: ...".
class Mistakes {
 public:
  explicit Mistakes(std::string file) : file_(std::move(file)) {}

  void Add(const YamlNode& at, const std::string& message);
  bool empty() const { return messages_.empty(); }
  // OK, or all of them, one per line.
  Status status() const;

 private:
  std::string file_;
  std::vector<std::string> messages_;
};

// Reads the members of one mapping and notes what is missing, malformed, out of range, or never
// asked for. A wrong member reads as the least value allowed, so that one mistake does not breed
// others.
class FieldReader {
 public:
  FieldReader(const YamlNode& node, Mistakes* mistakes);
  // Notes the members that nobody read.
  ~FieldReader();
  FieldReader(const FieldReader&) = delete;
  FieldReader& operator=(const FieldReader&) = delete;

  std::string Text(const char* key);
  std::string TextOr(const char* key, const char* absent);
  int Int(const char* key, int min, int max);
  int IntOr(const char* key, int absent, int min, int max);
  // Present, but `null` where nobody knows.
  std::optional<int> IntOrNull(const char* key, int min, int max);
  double Number(const char* key, double min, double max);
  std::optional<double> NumberOrNull(const char* key, double min, double max);
  bool Bool(const char* key);
  Confidence ReadConfidence(const char* key);
  std::vector<std::string> Texts(const char* key);
  std::vector<std::string> TextsOrNone(const char* key);
  std::vector<int> Ints(const char* key, int min, int max);
  // The member, or an empty node of that kind.
  const YamlNode& Map(const char* key);
  const YamlNode& Sequence(const char* key);
  const YamlNode* Optional(const char* key);
  bool Has(const char* key) const { return node_.Find(key) != nullptr; }

  void Wrong(const std::string& message) { mistakes_->Add(node_, message); }
  void Wrong(const char* key, const std::string& message);
  const YamlNode& node() const { return node_; }

 private:
  const YamlNode* Take(const char* key, YamlNode::Kind kind, const char* kind_name);

  const YamlNode& node_;
  Mistakes* mistakes_;
  std::set<std::string> read_;
};

// The whole number or the number that a scalar spells, within bounds.
std::optional<int> IntOf(const YamlNode& node, int min, int max);
std::optional<double> NumberOf(const YamlNode& node, double min, double max);
std::optional<Confidence> ConfidenceOf(const std::string& text);

// A document whose top level is a mapping.
Result<YamlNode> ParseData(const std::string& file, std::string_view text);

}  // namespace tranche::catalog
