#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "sim/machine/machine.h"
#include "sim/machine/mps.h"

// The text commands of nvidia-cuda-mps-control, version 2, over a simulated machine. Where the
// words of the real program's answers are not known, they are plain sentences; their order and
// meaning are those of its documentation.
namespace tranche::sim::mps {

struct Settings {
  std::string pipe_directory, log_directory;
  std::vector<Target> devices;  // that it serves, in the order of its ordinals
  bool static_partitions = false;
  bool any_user = false;
};

class Commands {
 public:
  using Clock = std::chrono::steady_clock;
  // Starts a server process for a user; its pid and start time, pid 0 when that failed.
  using StartServer = std::function<Watched(uint32_t uid)>;

  Commands(Machine* machine, Settings settings, StartServer start_server);

  // Registers the daemon as the one behind its pipe directory. Not kOk: there is one.
  Rc Begin(uint32_t uid);

  // One line, from a user who may give commands; the answer, with its newline.
  std::string Execute(const std::string& line);
  // A program of that user wants to be a client: "ready", or why not.
  std::string Admit(uint32_t uid);

  // The server has ended, by itself or by somebody's signal.
  void ServerEnded();
  uint32_t server_pid() const { return server_.pid; }
  uint64_t serial() const { return serial_; }  // of its entry, once begun
  // It was told to quit, and has no clients any more, or need not wait for them any longer.
  bool MayEnd();
  void End();

 private:
  using Words = std::vector<std::string>;

  std::string Run(const Words& words);
  std::string ServerOf(const Words& words, size_t at, uint32_t* pid) const;
  std::string SetPercentage(const Words& words, bool of_server);
  std::string SetMemory(const Words& words, bool of_server);
  std::string GetMemory(const Words& words, bool of_server);
  std::string SetPriority(const Words& words);
  std::string Start(const Words& words);
  std::string ListClients(const Words& words, bool by_device);
  std::string Snapshot(const Words& words);
  std::string QueryDevices(bool csv);
  std::string Terminate(const Words& words);
  std::string Quit(const Words& words);
  std::string Partition(const Words& words);
  std::string ListPartitions();

  std::string StartFor(uint32_t uid);
  // Changes the daemon's entry in the machine.
  void Change(const std::function<void(MpsServer&)>& change);
  MpsServer Entry() const;
  std::string UuidOf(const Target& target) const;
  // By ordinal or UUID; the number of devices when there is none such.
  size_t DeviceNamed(const std::string& name) const;
  std::vector<uint32_t> Clients() const;

  Machine* const machine_;
  const Settings settings_;
  const StartServer start_server_;
  uint64_t serial_ = 0;
  Watched server_;
  // For the next server.
  uint32_t percentage_ = 100;
  uint32_t priority_ = 0;
  // By device as it was named: both names may be there, and the last one counts.
  std::vector<std::pair<std::string, std::string>> memory_;
  bool quits_ = false;
  std::optional<Clock::time_point> quits_at_;
};

}  // namespace tranche::sim::mps
