#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/machine/mps.h"
#include "sim/mps/devices.h"
#include "sim/mps/processes.h"
#include "sim/mps/protocol.h"

namespace tranche::sim::mps {

// Protocol 2: lines of text, and one server at a time, which the first client brings about. Where
// the words of the real program's answers are not known, they are plain sentences; their order and
// meaning are those of its documentation.
class TextProtocol : public Protocol {
 public:
  TextProtocol(Machine* machine, Settings settings, Processes* processes);

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
  using Clock = std::chrono::steady_clock;
  using Act = std::string (TextProtocol::*)(const Words&);
  static Act ActOf(const std::string& verb);

  // text_protocol.cc: the server.
  std::string GetServerList(const Words& words);
  std::string GetServerStatus(const Words& words);
  std::string StartServer(const Words& words);
  std::string TerminateClient(const Words& words);
  std::string TellToQuit(const Words& words);
  std::string StartFor(uint32_t uid);
  std::vector<uint32_t> Clients(const Target* device = nullptr);
  // "" and its pid, if that word names the server.
  std::string ServerNamed(const Words& words, size_t at);

  // text_limits.cc: what clients get.
  std::string SetDefaultPercentage(const Words& words);
  std::string GetDefaultPercentage(const Words& words);
  std::string SetPercentage(const Words& words);
  std::string GetPercentage(const Words& words);
  std::string SetDefaultMemory(const Words& words);
  std::string GetDefaultMemory(const Words& words);
  std::string SetMemory(const Words& words);
  std::string GetMemory(const Words& words);
  std::string SetDefaultPriority(const Words& words);
  std::string GetDefaultPriority(const Words& words);
  // The defaults as they are when a server starts.
  void GiveDefaults(MpsServer* entry) const;

  // text_lists.cc: who and what is there.
  std::string GetClientList(const Words& words);
  std::string GetDeviceClientList(const Words& words);
  std::string Snapshot(const Words& words);
  std::string QueryDevices(const Words& words);

  // text_partitions.cc: static partitions.
  std::string Partition(const Words& words);
  std::string AddPartition(size_t device, const std::string& chunks);
  std::string RemovePartition(size_t device, const std::string& id);
  std::string ListPartitions(const Words& words);

  Machine* const machine_;
  const Settings settings_;
  const Devices devices_;
  Processes* const processes_;
  uint64_t daemon_ = 0;
  uint64_t serial_ = 0;  // of the one server, whose process comes and goes
  Watched server_;
  // For the next server.
  double percentage_ = 100;
  uint32_t priority_ = 0;
  // By device as it was named: both names may be there, and the last one counts.
  std::vector<std::pair<std::string, std::string>> memory_;
  bool quits_ = false;
  std::optional<Clock::time_point> quits_at_;
};

}  // namespace tranche::sim::mps
