#include "sim/mps/text_protocol.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "sim/mps/registration.h"

namespace tranche::sim::mps {
namespace {

constexpr const char* kNoServer = "Server not found\n";

}  // namespace

TextProtocol::TextProtocol(Machine* machine, Settings settings, Processes* processes)
    : machine_(machine),
      settings_(std::move(settings)),
      devices_(machine, settings_.devices),
      processes_(processes) {}

Answer TextProtocol::Begin() {
  if (RegisterDaemon(machine_, settings_, &daemon_) != Rc::kOk)
    return No("The daemon cannot serve behind this pipe directory");
  MpsServer entry;
  entry.daemon = daemon_;
  entry.uid = geteuid();
  entry.any_user = settings_.any_user ? 1 : 0;
  entry.must_be_in_partition = settings_.static_partitions ? 1 : 0;
  settings_.pipe_directory.copy(entry.pipe_directory, settings_.pipe_directory.size());
  for (const Target& device : settings_.devices) {
    entry.gpus |= uint32_t{1} << device.gpu;
    entry.ci = device.ci;
  }
  const Rc rc = machine_->Update([&](MachineState& state) {
    return StartMpsServer(machine_->spec(), &state, entry, &serial_);
  });
  return rc == Rc::kOk ? Answer{} : No("The daemon cannot serve these devices");
}

void TextProtocol::End() { UnregisterDaemon(machine_, daemon_); }

std::vector<std::string> TextProtocol::Directories() { return {settings_.pipe_directory}; }

Answer TextProtocol::Lines(const std::string& text) {
  std::string answer;
  for (const std::string& line : Split(text, '\n')) {
    std::istringstream stream(line);
    Words words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (words.empty()) continue;
    const Act act = ActOf(words[0]);
    answer += act == nullptr ? "Unknown command: " + words[0] + "\n" : (this->*act)(words);
  }
  return {true, answer};
}

Answer TextProtocol::Command(const Words& words, uint32_t) {
  return No("The control daemon runs protocol 2, which has no command '" + words.front() +
            "'; commands are lines on standard input");
}

Answer TextProtocol::Quit() {
  return No("The control daemon runs protocol 2, which ends with `echo quit`");
}

TextProtocol::Act TextProtocol::ActOf(const std::string& verb) {
  static const std::map<std::string, Act> kActs = {
      {"get_server_list", &TextProtocol::GetServerList},
      {"get_server_status", &TextProtocol::GetServerStatus},
      {"start_server", &TextProtocol::StartServer},
      {"terminate_client", &TextProtocol::TerminateClient},
      {"quit", &TextProtocol::TellToQuit},
      {"get_client_list", &TextProtocol::GetClientList},
      {"get_device_client_list", &TextProtocol::GetDeviceClientList},
      {"ps", &TextProtocol::Snapshot},
      {"device_query", &TextProtocol::QueryDevices},
      {"set_default_active_thread_percentage", &TextProtocol::SetDefaultPercentage},
      {"get_default_active_thread_percentage", &TextProtocol::GetDefaultPercentage},
      {"set_active_thread_percentage", &TextProtocol::SetPercentage},
      {"get_active_thread_percentage", &TextProtocol::GetPercentage},
      {"set_default_device_pinned_mem_limit", &TextProtocol::SetDefaultMemory},
      {"get_default_device_pinned_mem_limit", &TextProtocol::GetDefaultMemory},
      {"set_device_pinned_mem_limit", &TextProtocol::SetMemory},
      {"get_device_pinned_mem_limit", &TextProtocol::GetMemory},
      {"set_default_client_priority", &TextProtocol::SetDefaultPriority},
      {"get_default_client_priority", &TextProtocol::GetDefaultPriority},
      {"sm_partition", &TextProtocol::Partition},
      {"lspart", &TextProtocol::ListPartitions}};
  const auto act = kActs.find(verb);
  return act == kActs.end() ? nullptr : act->second;
}

std::string TextProtocol::GetServerList(const Words&) {
  return server_.pid == 0 ? "" : std::to_string(server_.pid) + "\n";
}

std::string TextProtocol::GetServerStatus(const Words& words) {
  const std::string none = ServerNamed(words, 1);
  if (!none.empty()) return none;
  return ServerOf(machine_, serial_).faulted != 0 ? "FAULT\n" : "ACTIVE\n";
}

std::string TextProtocol::StartServer(const Words& words) {
  std::optional<uint64_t> uid;
  for (size_t i = 1; i + 1 < words.size(); ++i) {
    if (words[i] == "-uid") uid = Number(words[i + 1]);
  }
  if (!uid) return "Invalid user\n";
  if (server_.pid != 0) return "Server already exists\n";
  return StartFor(static_cast<uint32_t>(*uid));
}

std::string TextProtocol::StartFor(uint32_t uid) {
  if (quits_) return "The daemon is shutting down\n";
  if (server_.pid != 0) {
    if (settings_.any_user || ServerOf(machine_, serial_).uid == uid) return "";
    // One user at a time.
    return Clients().empty() ? "Another user's server has not ended\n"
                             : "Another user's server is active\n";
  }
  ChangeServer(machine_, serial_, [&](MpsServer& entry) {
    entry.uid = uid;
    GiveDefaults(&entry);
  });
  server_ = processes_->Start(serial_, uid, settings_.log_directory + "/server.log");
  if (server_.pid == 0 || !processes_->Await(server_.pid)) {
    server_ = Watched{};
    return "Failed to start a server\n";
  }
  return "";
}

std::string TextProtocol::Admit(const std::string&, uint32_t uid) {
  const std::string why_not = StartFor(uid);
  return why_not.empty() ? "ready\n" : why_not;
}

void TextProtocol::ServerEnded(uint32_t pid) {
  processes_->Forget(pid);
  if (pid != server_.pid) return;
  server_ = Watched{};
  // Its clients are ended with any change.
  ChangeServer(machine_, serial_, [](MpsServer&) {});
}

std::string TextProtocol::ServerNamed(const Words& words, size_t at) {
  const auto number = words.size() > at ? Number(words[at]) : std::nullopt;
  return number && *number != 0 && *number == server_.pid ? "" : kNoServer;
}

std::vector<uint32_t> TextProtocol::Clients(const Target* device) {
  std::vector<uint32_t> clients;
  machine_->Read([&](const MachineState& state) {
    clients = MpsClients(state, serial_, {device});
    return Rc::kOk;
  });
  return clients;
}

std::string TextProtocol::TerminateClient(const Words& words) {
  if (const std::string none = ServerNamed(words, 1); !none.empty()) return none;
  const auto client = words.size() > 2 ? Number(words[2]) : std::nullopt;
  const std::vector<uint32_t> clients = Clients();
  if (!client || std::find(clients.begin(), clients.end(), *client) == clients.end())
    return "Client not found\n";
  machine_->Update([&](MachineState& state) {
    EndMpsClients(&state, serial_, static_cast<uint32_t>(*client), kMpsClientTerminated);
    return Rc::kOk;
  });
  return "";
}

std::string TextProtocol::TellToQuit(const Words& words) {
  quits_ = true;
  if (words.size() > 2 && words[1] == "-t") {
    if (const auto seconds = Number(words[2]))
      quits_at_ = Clock::now() + std::chrono::seconds(*seconds);
  }
  ChangeServer(machine_, serial_, [](MpsServer& entry) { entry.quitting = 1; });
  return "";
}

bool TextProtocol::MayEnd() {
  if (!quits_) return false;
  return Clients().empty() || (quits_at_ && Clock::now() >= *quits_at_);
}

}  // namespace tranche::sim::mps
