#include "edge/driver/mps/mps_answers.h"

#include <algorithm>
#include <charconv>
#include <sstream>

namespace tranche::mps {
namespace {

tl::unexpected<Error> NotUnderstood(const std::string& what, const std::string& line) {
  return Fail(ErrorCode::kFailed, "the list of MPS " + what + " is not understood: " + line);
}

std::vector<std::string> Fields(const std::string& csv_line) {
  std::vector<std::string> fields;
  std::istringstream text(csv_line);
  for (std::string field; std::getline(text, field, ',');) {
    const size_t first = field.find_first_not_of(' ');
    const size_t last = field.find_last_not_of(' ');
    fields.push_back(first == std::string::npos ? "" : field.substr(first, last - first + 1));
  }
  return fields;
}

// "20G", "512M", "1024K"; nothing for "-" and what else is no size.
std::optional<Bytes> Size(const std::string& text) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc()) return std::nullopt;
  const std::string unit(at, end);
  for (int power = 0; const char* one : {"", "K", "M", "G", "T"}) {
    if (unit == one) return Bytes{number << (10 * power)};
    ++power;
  }
  return std::nullopt;
}

std::optional<double> Percentage(const std::string& text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && at == end ? std::optional(number) : std::nullopt;
}

// How many, where "-" says that it is not for this row to say.
std::optional<int> Count(const std::string& text) {
  if (text == "-") return 0;
  if (text == "0") return 0;
  return Number(text);
}

// "GPU-74d43ed3" is short for it.
bool IsOf(const std::string& shown, const std::string& uuid) {
  return shown.size() > 4 && uuid.rfind(shown, 0) == 0;
}

}  // namespace

std::optional<int> Number(const std::string& text) {
  int number = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && at == end && number > 0 ? std::optional(number) : std::nullopt;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

std::string FirstLine(const std::string& text) {
  const std::vector<std::string> lines = Lines(text);
  return lines.empty() ? "it says nothing" : lines.front();
}

Result<std::vector<MpsServer>> ReadServers(const std::string& text) {
  std::vector<MpsServer> servers;
  for (const std::string& line : Lines(text)) {
    const auto pid = Number(line);
    if (!pid) return NotUnderstood("servers", line);
    servers.push_back({*pid, "", false});
  }
  return servers;
}

Result<std::vector<MpsServer>> ReadNamedServers(const std::string& csv) {
  std::vector<MpsServer> servers;
  for (const std::string& line : Lines(csv)) {
    // name, uid, pid, status, pipe directory, devices (of which there may be several), contexts.
    const std::vector<std::string> fields = Fields(line);
    const auto pid = fields.size() >= 5 ? Number(fields[2]) : std::nullopt;
    // One that is being made has no process yet.
    if (fields.size() >= 5 && !pid && (fields[2] == "-" || fields[2] == "0")) continue;
    if (!pid || fields[0].empty()) return NotUnderstood("servers", line);
    std::string status = fields[3];
    std::transform(status.begin(), status.end(), status.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    servers.push_back({*pid, fields[0], status.find("fault") != std::string::npos});
  }
  return servers;
}

Result<std::vector<int>> ReadClients(const std::string& text) {
  std::vector<int> clients;
  for (const std::string& line : Lines(text)) {
    const auto pid = Number(line);
    if (!pid) return NotUnderstood("clients", line);
    clients.push_back(*pid);
  }
  return clients;
}

Result<std::vector<int>> ReadNamedClients(const std::string& csv) {
  std::vector<int> clients;
  for (const std::string& line : Lines(csv)) {
    // pid, server, device, namespace, command. A client of two devices has two rows.
    const std::vector<std::string> fields = Fields(line);
    const auto pid = fields.empty() ? std::nullopt : Number(fields[0]);
    if (!pid) return NotUnderstood("clients", line);
    if (std::find(clients.begin(), clients.end(), *pid) == clients.end()) clients.push_back(*pid);
  }
  return clients;
}

Result<std::vector<MpsNamespace>> ReadNamespaces(const std::string& csv) {
  std::vector<MpsNamespace> namespaces;
  for (const std::string& line : Lines(csv)) {
    // name, server, its status, memory, percentage, priority, pipe directory.
    const std::vector<std::string> fields = Fields(line);
    if (fields.size() < 7 || fields[0].empty() || fields[6].empty() || fields[6][0] != '/')
      return NotUnderstood("namespaces", line);
    namespaces.push_back({fields[0], Size(fields[3]), Percentage(fields[4]), fields[6]});
  }
  return namespaces;
}

Result<MpsPartitions> ReadPartitions(const std::string& text, const std::string& gpu_uuid) {
  MpsPartitions partitions;
  for (const std::string& line : Lines(text)) {
    // GPU, partition ("-": the GPU itself), chunks free and used, SMs free and used, clients.
    std::istringstream words(line);
    std::string gpu, partition, free_chunks, used_chunks, free_sms, used_sms;
    words >> gpu >> partition >> free_chunks >> used_chunks >> free_sms >> used_sms;
    if (!IsOf(gpu, gpu_uuid)) continue;  // what the columns are, or another GPU
    const auto unused = Count(free_chunks), used = Count(used_chunks), unused_sms = Count(free_sms),
               sms = Count(used_sms);
    if (!words || !unused || !used || !unused_sms || !sms) return NotUnderstood("partitions", line);
    if (partition == "-") {
      partitions.chunks = *unused + *used;
      partitions.sms = *unused_sms + *sms;
      continue;
    }
    const size_t slash = partition.find('/');
    const bool whole = slash != std::string::npos && IsOf(partition.substr(0, slash), gpu_uuid);
    partitions.list.push_back(
        {gpu_uuid + "/" + (whole ? partition.substr(slash + 1) : partition), *used});
  }
  if (partitions.chunks > 0) return partitions;
  return Fail(ErrorCode::kUnsupported,
              "the MPS daemon has no static partitions: " + FirstLine(text));
}

std::optional<std::string> ReadNewPartition(const std::string& text, const std::string& gpu_uuid) {
  // "Partition <uuid>/<name> created", or the partition alone; the name may have slashes itself.
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const size_t slash = word.find('/');
    if (slash != std::string::npos && slash + 1 < word.size() &&
        IsOf(word.substr(0, slash), gpu_uuid))
      return gpu_uuid + word.substr(slash);
  }
  return std::nullopt;
}

}  // namespace tranche::mps
