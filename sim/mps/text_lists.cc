#include <algorithm>
#include <cstdio>

#include "sim/mps/text_protocol.h"

namespace tranche::sim::mps {

std::string TextProtocol::GetClientList(const Words& words) {
  if (const std::string none = ServerNamed(words, 1); !none.empty()) return none;
  std::string list;
  for (const uint32_t client : Clients()) list += std::to_string(client) + "\n";
  return list;
}

std::string TextProtocol::GetDeviceClientList(const Words& words) {
  // Of all devices, unless a server is named.
  if (words.size() > 1) {
    if (const std::string none = ServerNamed(words, 1); !none.empty()) return none;
  }
  std::string list;
  for (size_t i = 0; i < devices_.size(); ++i) {
    for (const uint32_t client : Clients(&devices_[i]))
      list += devices_.Uuid(i) + " " + std::to_string(client) + "\n";
  }
  return list;
}

std::string TextProtocol::Snapshot(const Words& words) {
  const auto one = words.size() > 2 && words[1] == "-p" ? Number(words[2]) : std::nullopt;
  std::string list = "PID       ID          SERVER    DEVICE             NAMESPACE    COMMAND\n";
  uint32_t id = 0;
  for (size_t i = 0; i < devices_.size(); ++i) {
    for (const uint32_t client : Clients(&devices_[i])) {
      ++id;
      if (one && *one != server_.pid) continue;
      char row[160];
      std::snprintf(row, sizeof(row), "%-9u %-11u %-9u %-18.12s %-12s ", client, id - 1,
                    server_.pid, devices_.Uuid(i).c_str(), PidNamespaceOf(client).c_str());
      list += row + CommandOf(client, false) + "\n";
    }
  }
  return list;
}

std::string TextProtocol::QueryDevices(const Words& words) {
  const bool csv = std::find(words.begin(), words.end(), "--csv") != words.end();
  std::string list =
      csv ? "Device Ordinal,PCI IDs,UUID,Name,Attributes\n"
          : "Device Ordinal    PCI IDs             UUID                                      "
            "    Name    Attributes\n";
  for (size_t i = 0; i < devices_.size(); ++i) {
    const std::string attributes = devices_[i].ci == 0 ? "" : "MIG";
    list += Join({std::to_string(i), devices_.PciId(i), devices_.Uuid(i), devices_.Gpu(i).name,
                  attributes},
                 csv ? "," : "    ") +
            "\n";
  }
  return list;
}

}  // namespace tranche::sim::mps
