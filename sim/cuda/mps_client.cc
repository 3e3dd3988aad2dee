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

// Which of them a UUID names, in full or by a beginning that no other one has.
size_t ByUuid(const std::string& name, const std::vector<std::string>& uuids) {
  const auto whole = std::find(uuids.begin(), uuids.end(), name);
  if (whole != uuids.end()) return static_cast<size_t>(whole - uuids.begin());
  size_t found = uuids.size();
  for (size_t i = 0; name.size() > 4 && i < uuids.size(); ++i) {
    if (uuids[i].rfind(name, 0) != 0) continue;
    if (found != uuids.size()) return uuids.size();
    found = i;
  }
  return found;
}

size_t Ordinal(const std::string& name, const std::vector<std::string>& uuids) {
  const size_t by_uuid = ByUuid(name, uuids);
  if (by_uuid < uuids.size()) return by_uuid;
  char* end = nullptr;
  const size_t number = std::strtoul(name.c_str(), &end, 10);
  return name.empty() || *end != 0 ? uuids.size() : number;
}

std::optional<double> Percentage(const std::optional<std::string>& variable) {
  if (!variable) return std::nullopt;
  char* end = nullptr;
  const double wished = std::strtod(variable->c_str(), &end);
  if (end == variable->c_str() || !(wished > 0) || wished > 100) return std::nullopt;
  return wished;
}

}  // namespace

std::vector<std::string> MpsPipeDirectories(const std::optional<std::string>& variable) {
  if (variable && !variable->empty()) return {*variable};
  return {"/tmp/nvidia-mps", "/run/nvidia-mps"};
}

bool AskForMpsServer(const std::string& pipe_directory, uint32_t uid) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = pipe_directory + "/control";
  if (path.size() >= sizeof(address.sun_path)) return false;
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const std::string words = "client " + std::to_string(uid) + "\n";
  std::string answer;
  if (fd >= 0 && connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      send(fd, words.data(), words.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(words.size()) &&
      shutdown(fd, SHUT_WR) == 0) {
    char some[64];
    for (ssize_t n; (n = read(fd, some, sizeof(some))) > 0;)
      answer.append(some, static_cast<size_t>(n));
  }
  if (fd >= 0) close(fd);
  return answer == "ready\n";
}

double ThreadPercentage(double of_server, const std::optional<std::string>& variable) {
  return std::min(of_server, Percentage(variable).value_or(of_server));
}

double ThreadPercentageIn(const std::optional<double>& of_namespace,
                          const std::optional<std::string>& variable) {
  return of_namespace ? *of_namespace : Percentage(variable).value_or(100);
}

bool BelowNormal(bool of_server, const std::optional<std::string>& variable) {
  if (variable == "0" || variable == "1") return variable == "1";
  return of_server;
}

std::string PartitionOn(const std::optional<std::string>& variable, const std::string& uuid,
                        const std::vector<std::string>& seen) {
  const size_t slash = variable ? variable->find('/') : std::string::npos;
  if (slash == std::string::npos) return "";
  const size_t device = ByUuid(variable->substr(0, slash), seen);
  return device < seen.size() && seen[device] == uuid ? variable->substr(slash + 1) : "";
}

uint32_t SmsOfClient(uint32_t sms, double percentage) {
  if (percentage >= 100) return sms;
  return std::max<uint32_t>(2, static_cast<uint32_t>(sms * percentage / 100) / 2 * 2);
}

std::optional<std::vector<uint64_t>> MemoryLimits(const std::string& text,
                                                  const std::vector<std::string>& uuids) {
  std::vector<uint64_t> limits(uuids.size(), kNoLimit);
  std::istringstream entries(text);
  for (std::string entry; std::getline(entries, entry, ',');) {
    const size_t equals = entry.find('=');
    const size_t device = Ordinal(entry.substr(0, equals), uuids);
    if (device >= uuids.size()) return std::nullopt;
    if (equals != std::string::npos) limits[device] = Size(entry.substr(equals + 1));
  }
  return limits;
}

}  // namespace tranche::sim::cuda
