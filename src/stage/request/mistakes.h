#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "base/yaml.h"
#include "stage/request/parser.h"

namespace tranche {

// Collects the mistakes of one file.
class Mistakes {
 public:
  explicit Mistakes(std::string file) : file_(std::move(file)) {}

  void Add(const YamlNode& at, const std::string& message, const std::string& hint = {}) {
    AddAt(at.line, at.column, message, hint);
  }
  void AddAt(int line, int column, const std::string& message, const std::string& hint);

  bool empty() const { return all_.empty(); }
  size_t size() const { return all_.size(); }

  // Remembers a value that could not be read, so that no rule complains about what stands in for
  // it.
  void MarkBroken(const YamlNode& value) { broken_.insert(&value); }
  bool IsBroken(const YamlNode& value) const { return broken_.count(&value) > 0; }

  const std::string& file() const { return file_; }
  // By place. A mistake inside something that aliases repeat is told once, and of very many only
  // the first hundred: whoever has more made one mistake many times.
  std::vector<Diagnostic> Take();

 private:
  std::string file_;
  std::vector<Diagnostic> all_;
  std::unordered_set<const YamlNode*> broken_;
};

}  // namespace tranche
