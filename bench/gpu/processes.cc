#include "processes.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>

extern "C" char** environ;

namespace tranche::gpu_check {
namespace {

// Later entries win, so that no name is there twice.
std::vector<std::string> Environment(const std::vector<std::string>& more) {
  std::map<std::string, std::string> all;
  const auto put = [&](const std::string& entry) { all[entry.substr(0, entry.find('='))] = entry; };
  for (char** entry = environ; *entry != nullptr; ++entry) put(*entry);
  for (const std::string& entry : more) put(entry);
  std::vector<std::string> list;
  for (const auto& [name, entry] : all) list.push_back(entry);
  return list;
}

std::vector<char*> Words(const std::vector<std::string>& list) {
  std::vector<char*> words;
  for (const std::string& word : list) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  return words;
}

std::string LastLine(const std::string& text) {
  std::istringstream in(text);
  std::string last;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) last = line;
  }
  return last;
}

}  // namespace

int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

std::string ReadText(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::string Outcome::Reason() const {
  if (timed_out) return "it took too long" + (last_words.empty() ? "" : ": " + last_words);
  if (ok()) return "";
  const std::string how =
      exit_code < 0 ? "killed by a signal" : "exit code " + std::to_string(exit_code);
  return last_words.empty() ? how : last_words + " (" + how + ")";
}

double Outcome::Number(const std::string& name) const {
  const auto found = numbers.find(name);
  return found == numbers.end() ? 0 : found->second;
}

Process::Process(const std::vector<std::string>& argv, const std::vector<std::string>& environment,
                 const std::string& folder) {
  static int count = 0;
  const std::string base = folder + "/process" + std::to_string(++count);
  out_ = base + ".out";
  error_ = base + ".err";
  const std::vector<std::string> all = Environment(environment);
  const std::vector<char*> words = Words(argv), variables = Words(all);
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return;
  input_ = ends[1];
  pid_ = fork();
  if (pid_ == 0) {
    // Of its own group, so that what it starts ends with it.
    setpgid(0, 0);
    const int out = open(out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int error = open(error_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    dup2(ends[0], 0);
    dup2(out, 1);
    dup2(error, 2);
    environ = const_cast<char**>(variables.data());
    execvp(words[0], words.data());
    std::fprintf(stderr, "%s: %s\n", words[0], std::strerror(errno));
    _exit(127);
  }
  close(ends[0]);
}

Process::~Process() {
  Kill();
  if (input_ >= 0) close(input_);
  unlink(out_.c_str());
  unlink(error_.c_str());
}

void Process::Kill() {
  if (ended_ || pid_ <= 0) return;
  kill(-pid_, SIGKILL);
  kill(pid_, SIGKILL);
  // One that hangs in the driver may not end even so; it is left to whoever looks after the
  // machine.
  const int64_t until = Now() + 5'000'000'000;
  while (Running() && Now() < until) usleep(2000);
  ended_ = true;
}

bool Process::Running() {
  if (ended_ || pid_ <= 0) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return true;
  Collect(status);
  return false;
}

std::string Process::Said() const { return ReadText(out_); }

Outcome Process::Wait(int64_t until) {
  if (input_ >= 0) close(input_);
  input_ = -1;
  while (Running()) {
    if (Now() > until) {
      Kill();
      outcome_.timed_out = true;
      outcome_.exit_code = -1;
      break;
    }
    usleep(2000);
  }
  return outcome_;
}

void Process::Collect(int status) {
  ended_ = true;
  outcome_.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  outcome_.output = ReadText(out_);
  outcome_.last_words = LastLine(ReadText(error_));
  std::istringstream in(outcome_.output);
  for (std::string line; std::getline(in, line);) {
    const size_t space = line.find(' ');
    if (space == std::string::npos) continue;
    const std::string name = line.substr(0, space), rest = line.substr(space + 1);
    char* end = nullptr;
    const double number = std::strtod(rest.c_str(), &end);
    if (!name.empty() && name.back() == '=')
      outcome_.texts[name.substr(0, name.size() - 1)] = rest;
    else if (end != rest.c_str())
      outcome_.numbers[name] = number;
  }
}

}  // namespace tranche::gpu_check
