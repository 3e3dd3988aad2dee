#pragma once

#include <fstream>
#include <string>

namespace tranche::sim::mps {

// control.log or server.log, one line for each thing that happens.
class Log {
 public:
  // `who`: "Control" or "Server".
  Log(const std::string& file, std::string who)
      : file_(file, std::ios::app), who_(std::move(who)) {}
  void Say(const std::string& text);

 private:
  std::ofstream file_;
  const std::string who_;
};

}  // namespace tranche::sim::mps
