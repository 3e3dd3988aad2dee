#pragma once

#include "sim/mps/named_daemon.h"
#include "sim/mps/protocol.h"

namespace tranche::sim::mps {

// Protocol 3: commands, servers with names, and namespaces in them.
class NamedProtocol : public Protocol {
 public:
  NamedProtocol(Machine* machine, Settings settings, Processes* processes);

  Answer Begin() override;
  void End() override;
  Answer Lines(const std::string& text) override;
  Answer Command(const Words& words, uint32_t uid) override;
  Answer Quit() override;
  std::string Admit(const std::string& directory, uint32_t uid) override;
  void ServerEnded(uint32_t pid) override;
  bool MayEnd() override;
  std::vector<std::string> Directories() override;

 private:
  NamedDaemon daemon_;
  bool quits_ = false;
};

}  // namespace tranche::sim::mps
