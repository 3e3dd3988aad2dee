#include "sim/cuda/mps_client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

namespace tranche::sim::cuda {
namespace {

// An integer and G or M; kNoLimit for anything else.
uint64_t Size(const std::string& text) {
  char* end = nullptr;
  const uint64_t number = std::strtoull(text.c_str(), &end, 10);
  const std::string unit = end;
  if (end == text.c_str() || number > (uint64_t{1} << 24)) return kNoLimit;
  if (unit == "G") return number << 30;
  return unit == "M" ? number << 20 : kNoLimit;
}

size_t Ordinal(const std::string& name, const std::vector<std::string>& uuids) {
  const auto by_uuid = std::find(uuids.begin(), uuids.end(), name);
  if (by_uuid != uuids.end()) return static_cast<size_t>(by_uuid - uuids.begin());
  char* end = nullptr;
  const size_t number = std::strtoul(name.c_str(), &end, 10);
  return name.empty() || *end != 0 ? uuids.size() : number;
}

}  // namespace

std::string MpsPipeDirectory(const std::optional<std::string>& variable) {
  return variable && !variable->empty() ? *variable : "/tmp/nvidia-mps";
}

bool AskForMpsServer(const std::string& pipe_directory) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = pipe_directory + "/control";
  if (path.size() >= sizeof(address.sun_path)) return false;
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const std::string words = "client " + std::to_string(geteuid()) + "\n";
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      send(fd, words.data(), words.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(words.size()) &&
      shutdown(fd, SHUT_WR) == 0) {
    char some[64];
    for (ssize_t n; (n = read(fd, some, sizeof(some))) > 0;)
      answer.append(some, static_cast<size_t>(n));
  }
  close(fd);
  return answer == "ready\n";
}

uint32_t ThreadPercentage(uint32_t of_server, const std::optional<std::string>& variable) {
  if (!variable) return of_server;
  char* end = nullptr;
  const double wished = std::strtod(variable->c_str(), &end);
  if (end == variable->c_str() || !(wished > 0) || wished > 100) return of_server;
  return std::min(of_server, std::max(1u, static_cast<uint32_t>(wished)));
}

bool BelowNormal(uint32_t of_server, const std::optional<std::string>& variable) {
  if (variable == "0" || variable == "1") return variable == "1";
  return of_server != 0;
}

uint32_t PartitionOf(const std::optional<std::string>& variable, const std::string& uuid,
                     uint32_t count) {
  const size_t slash = variable ? variable->find('/') : std::string::npos;
  if (slash == std::string::npos || variable->substr(0, slash) != uuid) return 0;
  char* end = nullptr;
  const char* text = variable->c_str() + slash + 1;
  const unsigned long number = std::strtoul(text, &end, 10);
  return end == text || *end != 0 || number > count ? 0 : static_cast<uint32_t>(number);
}

uint32_t SmsOfClient(uint32_t sms, uint32_t percentage) {
  if (percentage >= 100) return sms;
  return std::max<uint32_t>(2, sms * percentage / 100 / 2 * 2);
}

std::vector<uint64_t> MemoryLimits(const std::string& text, const std::vector<std::string>& uuids) {
  std::vector<uint64_t> limits(uuids.size(), kNoLimit);
  std::istringstream entries(text);
  for (std::string entry; std::getline(entries, entry, ',');) {
    const size_t equals = entry.find('=');
    const size_t device = Ordinal(entry.substr(0, equals), uuids);
    if (device >= uuids.size()) return std::vector<uint64_t>(uuids.size(), kNoLimit);
    if (equals != std::string::npos) limits[device] = Size(entry.substr(equals + 1));
  }
  return limits;
}

}  // namespace tranche::sim::cuda
