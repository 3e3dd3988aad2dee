#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace tranche::gpu_check {

// How a program ended and what it said: lines "NAME NUMBER", or "NAME= TEXT".
struct Outcome {
  int exit_code = -1;  // -1: it was killed, or could not be started
  bool timed_out = false;
  std::string output;
  std::string last_words;  // of its standard error

  bool ok() const { return exit_code == 0; }
  std::string Reason() const;
  bool Has(const std::string& name) const { return numbers.count(name) != 0; }
  // 0 where it said nothing of it.
  double Number(const std::string& name) const;
  std::map<std::string, double> numbers;
  std::map<std::string, std::string> texts;
};

// A program that runs with this environment beside the caller's, its output in files of `folder`.
class Process {
 public:
  Process(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
          const std::string& folder);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return pid_; }
  bool Running();
  // With SIGKILL, and its whole group.
  void Kill();
  // Closes its standard input and waits until then (of CLOCK_MONOTONIC, ns); kills it after that.
  Outcome Wait(int64_t until);
  // What it has said so far.
  std::string Said() const;

 private:
  void Collect(int status);

  pid_t pid_ = -1;
  int input_ = -1;
  std::string out_, error_;
  bool ended_ = false;
  Outcome outcome_;
};

int64_t Now();
std::string ReadText(const std::string& path);

}  // namespace tranche::gpu_check
