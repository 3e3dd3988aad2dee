#include "sim/mps/commands.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "sim/machine/mig.h"
#include "sim/machine/process_table.h"

namespace tranche::sim::mps {
namespace {

constexpr const char* kNoServer = "Server not found\n";

std::optional<uint64_t> Number(const std::string& text) {
  char* end = nullptr;
  const uint64_t number = std::strtoull(text.c_str(), &end, 10);
  const bool whole = !text.empty() && *end == 0 && text[0] != '-';
  return whole ? std::optional(number) : std::nullopt;
}

// "10G", "512M": whole numbers of these two units alone.
std::optional<uint64_t> Size(const std::string& text) {
  if (text.size() < 2) return std::nullopt;
  const auto number = Number(text.substr(0, text.size() - 1));
  if (!number || *number > (uint64_t{1} << 24)) return std::nullopt;
  if (text.back() == 'G') return *number << 30;
  return text.back() == 'M' ? std::optional(*number << 20) : std::nullopt;
}

// A percentage above 0, as the program takes it, with or without decimals.
std::optional<uint32_t> Percentage(const std::string& text) {
  char* end = nullptr;
  const double percentage = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != 0 || !(percentage > 0) || percentage > 100) return std::nullopt;
  return std::max(1u, static_cast<uint32_t>(percentage));
}

std::string Format(const char* format, const std::string& a, const std::string& b) {
  char text[256];
  std::snprintf(text, sizeof(text), format, a.c_str(), b.c_str());
  return text;
}

std::string CommandOf(uint32_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string command(std::istreambuf_iterator<char>(file), {});
  return command.substr(0, command.find('\0'));
}

// The pid namespace, as `ps` shows it.
std::string NamespaceOf(uint32_t pid) {
  char target[64] = {};
  const std::string path = "/proc/" + std::to_string(pid) + "/ns/pid";
  const ssize_t n = readlink(path.c_str(), target, sizeof(target) - 1);
  const std::string text(target, n > 0 ? static_cast<size_t>(n) : 0);
  const size_t open = text.find('['), close = text.find(']');
  return close == std::string::npos ? "0" : text.substr(open + 1, close - open - 1);
}

}  // namespace

Commands::Commands(Machine* machine, Settings settings, StartServer start_server)
    : machine_(machine), settings_(std::move(settings)), start_server_(std::move(start_server)) {}

Rc Commands::Begin(uint32_t uid) {
  Process self;
  if (!DescribeProcess(static_cast<uint32_t>(getpid()), &self)) return Rc::kBroken;
  MpsServer entry;
  entry.daemon = {self.pid, self.start_ticks};
  entry.uid = uid;
  entry.any_user = settings_.any_user ? 1 : 0;
  entry.must_be_in_partition = settings_.static_partitions ? 1 : 0;
  if (settings_.pipe_directory.size() >= sizeof(entry.pipe_directory)) return Rc::kInvalid;
  settings_.pipe_directory.copy(entry.pipe_directory, settings_.pipe_directory.size());
  for (const Target& device : settings_.devices) {
    entry.gpus |= uint32_t{1} << device.gpu;
    entry.ci = device.ci;
  }
  return machine_->Update([&](MachineState& state) {
    const Rc rc = StartMpsServer(machine_->spec(), &state, entry);
    const MpsServer* made =
        rc == Rc::kOk ? FindMpsServer(state, std::string_view(entry.pipe_directory)) : nullptr;
    if (made != nullptr) serial_ = made->serial;
    return rc;
  });
}

void Commands::Change(const std::function<void(MpsServer&)>& change) {
  machine_->Update([&](MachineState& state) {
    auto* entry = const_cast<MpsServer*>(FindMpsServer(state, serial_));
    if (entry == nullptr) return Rc::kNotFound;
    change(*entry);
    return Rc::kOk;
  });
}

MpsServer Commands::Entry() const {
  MpsServer copy;
  machine_->Read([&](const MachineState& state) {
    const MpsServer* entry = FindMpsServer(state, serial_);
    if (entry != nullptr) copy = *entry;
    return Rc::kOk;
  });
  return copy;
}

std::vector<uint32_t> Commands::Clients() const {
  std::vector<uint32_t> clients;
  machine_->Read([&](const MachineState& state) {
    clients = MpsClients(state, serial_);
    return Rc::kOk;
  });
  return clients;
}

std::string Commands::UuidOf(const Target& target) const {
  std::string uuid = machine_->spec().gpus[target.gpu].uuid;
  if (target.ci == 0) return uuid;
  machine_->Read([&](const MachineState& state) {
    const ComputeInstance* ci = FindCi(state.gpus[target.gpu], target.ci);
    if (ci != nullptr) uuid = ci->uuid;
    return Rc::kOk;
  });
  return uuid;
}

size_t Commands::DeviceNamed(const std::string& name) const {
  const auto ordinal = Number(name);
  if (ordinal) return std::min<size_t>(*ordinal, settings_.devices.size());
  for (size_t i = 0; i < settings_.devices.size(); ++i) {
    if (UuidOf(settings_.devices[i]) == name) return i;
  }
  return settings_.devices.size();
}

std::string Commands::StartFor(uint32_t uid) {
  if (quits_) return "The daemon is shutting down\n";
  if (server_.pid != 0) {
    const MpsServer entry = Entry();
    if (settings_.any_user || entry.uid == uid) return "";
    // One user at a time.
    if (!Clients().empty()) return "Another user's server is active\n";
    return "Another user's server has not ended\n";
  }
  server_ = start_server_(uid);
  if (server_.pid == 0) return "Failed to start a server\n";
  Change([&](MpsServer& entry) {
    entry.server = server_;
    entry.uid = uid;
    entry.thread_percentage = percentage_;
    entry.below_normal = priority_;
    std::fill(std::begin(entry.memory_limits), std::end(entry.memory_limits), 0);
    for (const auto& [name, size] : memory_) {
      // A device that is not there is passed over without a word, as by the real one.
      const size_t device = DeviceNamed(name);
      if (device < settings_.devices.size())
        entry.memory_limits[settings_.devices[device].gpu] = Size(size).value_or(0);
    }
  });
  return "";
}

std::string Commands::Admit(uint32_t uid) {
  const std::string why_not = StartFor(uid);
  return why_not.empty() ? "ready\n" : why_not;
}

void Commands::ServerEnded() {
  server_ = Watched{};
  Change([](MpsServer& entry) { entry.server = Watched{}; });
  machine_->Update([&](MachineState& state) {
    EndMpsClients(&state, serial_, 0, kMpsServerDied);
    return Rc::kOk;
  });
}

bool Commands::MayEnd() {
  if (!quits_) return false;
  return Clients().empty() || (quits_at_ && Clock::now() >= *quits_at_);
}

void Commands::End() {
  machine_->Update([&](MachineState& state) {
    EndMpsClients(&state, serial_, 0, kMpsServerDied);
    auto* entry = const_cast<MpsServer*>(FindMpsServer(state, serial_));
    if (entry != nullptr) *entry = MpsServer{};
    return Rc::kOk;
  });
}

std::string Commands::Execute(const std::string& line) {
  std::istringstream text(line);
  Words words;
  for (std::string word; text >> word;) words.push_back(word);
  return words.empty() ? "" : Run(words);
}

std::string Commands::Run(const Words& words) {
  const std::string& verb = words[0];
  if (verb == "quit") return Quit(words);
  if (verb == "get_server_list") return server_.pid == 0 ? "" : std::to_string(server_.pid) + "\n";
  if (verb == "get_server_status") {
    uint32_t pid = 0;
    const std::string none = ServerOf(words, 1, &pid);
    if (!none.empty()) return none;
    return Entry().faulted != 0 ? "FAULT\n" : "ACTIVE\n";
  }
  if (verb == "start_server") return Start(words);
  if (verb == "get_client_list") return ListClients(words, false);
  if (verb == "get_device_client_list") return ListClients(words, true);
  if (verb == "ps") return Snapshot(words);
  if (verb == "device_query")
    return QueryDevices(std::find(words.begin(), words.end(), "--csv") != words.end());
  if (verb == "terminate_client") return Terminate(words);
  if (verb == "set_default_active_thread_percentage") return SetPercentage(words, false);
  if (verb == "set_active_thread_percentage") return SetPercentage(words, true);
  if (verb == "get_default_active_thread_percentage") return std::to_string(percentage_) + ".0\n";
  if (verb == "get_active_thread_percentage") {
    uint32_t pid = 0;
    const std::string none = ServerOf(words, 1, &pid);
    return none.empty() ? std::to_string(Entry().thread_percentage) + ".0\n" : none;
  }
  if (verb == "set_default_device_pinned_mem_limit") return SetMemory(words, false);
  if (verb == "set_device_pinned_mem_limit") return SetMemory(words, true);
  if (verb == "get_default_device_pinned_mem_limit") return GetMemory(words, false);
  if (verb == "get_device_pinned_mem_limit") return GetMemory(words, true);
  if (verb == "set_default_client_priority") return SetPriority(words);
  if (verb == "get_default_client_priority") return std::to_string(priority_) + "\n";
  if (verb == "sm_partition") return Partition(words);
  if (verb == "lspart") return ListPartitions();
  return "Unknown command: " + verb + "\n";
}

std::string Commands::ServerOf(const Words& words, size_t at, uint32_t* pid) const {
  const auto number = words.size() > at ? Number(words[at]) : std::nullopt;
  if (!number || *number == 0 || *number != server_.pid) return kNoServer;
  *pid = server_.pid;
  return "";
}

std::string Commands::SetPercentage(const Words& words, bool of_server) {
  uint32_t pid = 0;
  if (of_server) {
    if (const std::string none = ServerOf(words, 1, &pid); !none.empty()) return none;
  }
  const size_t at = of_server ? 2 : 1;
  const auto percentage = words.size() > at ? Percentage(words[at]) : std::nullopt;
  if (!percentage) return "Invalid active thread percentage\n";
  if (of_server) {
    Change([&](MpsServer& entry) { entry.thread_percentage = *percentage; });
  } else {
    percentage_ = *percentage;
  }
  return std::to_string(*percentage) + ".0\n";
}

std::string Commands::SetMemory(const Words& words, bool of_server) {
  uint32_t pid = 0;
  if (of_server) {
    if (const std::string none = ServerOf(words, 1, &pid); !none.empty()) return none;
  }
  const size_t at = of_server ? 2 : 1;
  const auto size = words.size() > at + 1 ? Size(words[at + 1]) : std::nullopt;
  if (!size) return "Invalid memory limit\n";
  if (of_server) {
    const size_t device = DeviceNamed(words[at]);
    if (device >= settings_.devices.size()) return "";
    Change([&](MpsServer& entry) { entry.memory_limits[settings_.devices[device].gpu] = *size; });
    return "";
  }
  std::erase_if(memory_, [&](const auto& limit) { return limit.first == words[at]; });
  memory_.emplace_back(words[at], words[at + 1]);
  return "";
}

std::string Commands::GetMemory(const Words& words, bool of_server) {
  uint32_t pid = 0;
  if (of_server) {
    if (const std::string none = ServerOf(words, 1, &pid); !none.empty()) return none;
  }
  const size_t at = of_server ? 2 : 1;
  if (words.size() <= at) return "Invalid device\n";
  if (!of_server) {
    const auto limit = std::find_if(memory_.begin(), memory_.end(),
                                    [&](const auto& one) { return one.first == words[at]; });
    return limit == memory_.end() ? "\n" : limit->second + "\n";
  }
  const size_t device = DeviceNamed(words[at]);
  if (device >= settings_.devices.size()) return "\n";
  const uint64_t bytes = Entry().memory_limits[settings_.devices[device].gpu];
  if (bytes == 0) return "\n";
  const bool whole = bytes % (uint64_t{1} << 30) == 0;
  return std::to_string(whole ? bytes >> 30 : bytes >> 20) + (whole ? "G\n" : "M\n");
}

std::string Commands::SetPriority(const Words& words) {
  if (words.size() != 2 || (words[1] != "0" && words[1] != "1")) return "Invalid client priority\n";
  priority_ = words[1] == "1" ? 1 : 0;
  return "";
}

std::string Commands::Start(const Words& words) {
  std::optional<uint64_t> uid;
  for (size_t i = 1; i + 1 < words.size(); ++i) {
    if (words[i] == "-uid") uid = Number(words[i + 1]);
  }
  if (!uid) return "Invalid user\n";
  if (server_.pid != 0) return "Server already exists\n";
  return StartFor(static_cast<uint32_t>(*uid));
}

std::string Commands::ListClients(const Words& words, bool by_device) {
  uint32_t pid = server_.pid;
  // Of one server, named by its pid, unless all devices are asked for.
  if (!by_device || words.size() > 1) {
    if (const std::string none = ServerOf(words, 1, &pid); !none.empty()) return none;
  }
  std::string list;
  if (!by_device) {
    for (const uint32_t client : Clients()) list += std::to_string(client) + "\n";
    return list;
  }
  for (const Target& device : settings_.devices) {
    std::vector<uint32_t> clients;
    machine_->Read([&](const MachineState& state) {
      clients = MpsClients(state, serial_, &device);
      return Rc::kOk;
    });
    for (const uint32_t client : clients)
      list += UuidOf(device) + " " + std::to_string(client) + "\n";
  }
  return list;
}

std::string Commands::Snapshot(const Words& words) {
  const auto one = words.size() > 2 && words[1] == "-p" ? Number(words[2]) : std::nullopt;
  std::string list = "PID       ID          SERVER    DEVICE             NAMESPACE    COMMAND\n";
  uint32_t id = 0;
  for (const Target& device : settings_.devices) {
    std::vector<uint32_t> clients;
    machine_->Read([&](const MachineState& state) {
      clients = MpsClients(state, serial_, &device);
      return Rc::kOk;
    });
    for (const uint32_t client : clients) {
      ++id;
      if (one && *one != server_.pid) continue;
      char row[160];
      std::snprintf(row, sizeof(row), "%-9u %-11u %-9u %-18.12s %-12s ", client, id - 1,
                    server_.pid, UuidOf(device).c_str(), NamespaceOf(client).c_str());
      list += row + CommandOf(client) + "\n";
    }
  }
  return list;
}

std::string Commands::QueryDevices(bool csv) {
  std::string list =
      csv ? "Device Ordinal,PCI IDs,UUID,Name,Attributes\n"
          : "Device Ordinal    PCI IDs             UUID                                      "
            "    Name    Attributes\n";
  for (size_t i = 0; i < settings_.devices.size(); ++i) {
    const Target& device = settings_.devices[i];
    const GpuSpec& gpu = machine_->spec().gpus[device.gpu];
    const char* between = csv ? "," : "    ";
    char bus[32];
    std::snprintf(bus, sizeof(bus), "%08X:%02X:%02X.0", gpu.pci_domain, gpu.pci_bus,
                  gpu.pci_device);
    list += std::to_string(i) + between + bus + between + UuidOf(device) + between + gpu.name +
            between + (device.ci == 0 ? "" : "MIG") + "\n";
  }
  return list;
}

std::string Commands::Terminate(const Words& words) {
  uint32_t pid = 0;
  if (const std::string none = ServerOf(words, 1, &pid); !none.empty()) return none;
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

std::string Commands::Quit(const Words& words) {
  quits_ = true;
  if (words.size() > 2 && words[1] == "-t") {
    if (const auto seconds = Number(words[2]))
      quits_at_ = Clock::now() + std::chrono::seconds(*seconds);
  }
  Change([](MpsServer& entry) { entry.quitting = 1; });
  return "";
}

std::string Commands::Partition(const Words& words) {
  if (!settings_.static_partitions) return "Static SM partitioning is not enabled\n";
  const bool add = words.size() == 4 && words[1] == "add";
  const bool remove = words.size() == 4 && words[1] == "rm";
  if (!add && !remove) return "Usage: sm_partition add GPU CHUNKS | rm GPU PARTITION\n";
  const size_t device = DeviceNamed(words[2]);
  const auto number = Number(words[3]);
  if (device >= settings_.devices.size() || Number(words[2])) return "Invalid GPU\n";
  if (!number || *number == 0 || *number > 1024)
    return add ? "Invalid number of chunks\n" : "Invalid partition\n";
  const Target& target = settings_.devices[device];
  const GpuSpec& gpu = machine_->spec().gpus[target.gpu];
  const uint32_t chunk = SmsOfChunk(gpu);
  if (chunk == 0 || target.ci != 0) return "The device cannot be partitioned\n";
  std::string answer = add ? "Not enough free SM chunks\n" : "Partition not found\n";
  machine_->Update([&](MachineState& state) {
    auto* entry = const_cast<MpsServer*>(FindMpsServer(state, serial_));
    if (entry == nullptr) return Rc::kNotFound;
    uint32_t taken = 0, free = entry->partition_count;
    for (uint32_t i = entry->partition_count; i-- > 0;) {
      if (entry->partition_gpu[i] == target.gpu + 1) taken += entry->partition_sms[i];
      if (entry->partition_sms[i] == 0) free = i;
    }
    if (remove) {
      const uint64_t i = *number - 1;
      if (i >= entry->partition_count || entry->partition_sms[i] == 0 ||
          entry->partition_gpu[i] != target.gpu + 1)
        return Rc::kNotFound;
      entry->partition_sms[i] = entry->partition_gpu[i] = 0;
      answer = Format("Partition %s/%s removed\n", words[2], words[3]);
      return Rc::kOk;
    }
    const auto sms = static_cast<uint32_t>(*number) * chunk;
    if (free >= kMaxSmPartitions || taken + sms > gpu.sm / chunk * chunk)
      return Rc::kInsufficientResources;
    entry->partition_sms[free] = sms;
    entry->partition_gpu[free] = target.gpu + 1;
    if (free == entry->partition_count) ++entry->partition_count;
    answer = Format("Partition %s/%s created\n", words[2], std::to_string(free + 1));
    return Rc::kOk;
  });
  return answer;
}

std::string Commands::ListPartitions() {
  if (!settings_.static_partitions) return "Static SM partitioning is not enabled\n";
  std::string list =
      "GPU                                       Partition    Free    Used    Free    Used    In\n"
      "                                                       Chunks  Chunks  SMs     SMs     "
      "Use\n";
  const MpsServer entry = Entry();
  const auto row = [&](const std::string& uuid, const std::string& name, uint32_t free,
                       uint32_t used, uint32_t chunk, const char* in_use) {
    char text[200];
    std::snprintf(text, sizeof(text), "%-41s %-12s %-7u %-7u %-7u %-7u %s\n", uuid.c_str(),
                  name.c_str(), free, used, free * chunk, used * chunk, in_use);
    list += text;
  };
  for (const Target& device : settings_.devices) {
    const GpuSpec& gpu = machine_->spec().gpus[device.gpu];
    const uint32_t chunk = SmsOfChunk(gpu);
    if (chunk == 0) continue;
    uint32_t used = 0;
    for (uint32_t i = 0; i < entry.partition_count; ++i) {
      if (entry.partition_gpu[i] == device.gpu + 1) used += entry.partition_sms[i] / chunk;
    }
    row(UuidOf(device), "-", gpu.sm / chunk - used, used, chunk, "-");
    for (uint32_t i = 0; i < entry.partition_count; ++i) {
      if (entry.partition_gpu[i] == device.gpu + 1)
        row(UuidOf(device), std::to_string(i + 1), 0, entry.partition_sms[i] / chunk, chunk,
            Clients().empty() ? "No" : "Yes");
    }
  }
  return list;
}

}  // namespace tranche::sim::mps
