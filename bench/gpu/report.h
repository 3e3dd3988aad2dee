#pragma once

#include <optional>
#include <string>
#include <vector>

namespace tranche::gpu_check {

// One number, and what was wished of it.
struct Value {
  std::string what;
  std::string mode;   // none, limiter, rival, mps; "" where there is no such choice
  std::string shape;  // of the work; ""
  double number = 0;
  std::string unit;
  std::optional<double> at_most = {};
  std::optional<double> at_least = {};

  bool met() const {
    return (!at_most || number <= *at_most) && (!at_least || number >= *at_least);
  }
};

struct Step {
  std::string name;
  std::string status;  // done, failed, skipped
  std::string reason;  // of the latter two; also where only a part of it could be done
  double seconds = 0;
  std::vector<Value> values;
  std::string document;  // JSON of another program's, as it is
};

// What the file says: rewritten whole after each step, so that whatever ends the check leaves what
// was measured.
class Report {
 public:
  explicit Report(std::string path) : path_(std::move(path)) {}

  void Fact(const std::string& name, const std::string& text) { facts_.push_back({name, text}); }
  void Add(Step step);
  // False when the file cannot be written.
  bool Write() const;
  int missed() const;

 private:
  std::string path_;
  std::vector<std::pair<std::string, std::string>> facts_;
  std::vector<Step> steps_;
};

}  // namespace tranche::gpu_check
