#include "sim/mps/named_protocol.h"

#include "sim/mps/configuration.h"
#include "sim/mps/verbs.h"

namespace tranche::sim::mps {

NamedProtocol::NamedProtocol(Machine* machine, Settings settings, Processes* processes)
    : daemon_(machine, std::move(settings), processes) {}

Answer NamedProtocol::Begin() {
  Configuration configuration;
  if (const std::string& file = daemon_.settings().configuration; !file.empty()) {
    auto read = ReadConfiguration(file);
    if (!read) return No(read.error().message);
    configuration = std::move(*read);
  }
  Status status = daemon_.Begin();
  if (!status) return No(status.error().message);
  status = Apply(configuration, &daemon_);
  if (status) return {};
  daemon_.End();
  return No(daemon_.settings().configuration + ": " + status.error().message);
}

void NamedProtocol::End() { daemon_.End(); }

Answer NamedProtocol::Lines(const std::string&) {
  return No(
      "The control daemon runs protocol 3, which reads no commands from standard input; see "
      "`nvidia-cuda-mps-control -h`");
}

Answer NamedProtocol::Command(const Words& words, uint32_t uid) {
  return Run(&daemon_, words, uid);
}

Answer NamedProtocol::Quit() {
  quits_ = true;
  return {};
}

std::string NamedProtocol::Admit(const std::string& directory, uint32_t uid) {
  return daemon_.Admit(directory, uid);
}

void NamedProtocol::ServerEnded(uint32_t pid) { daemon_.ServerEnded(pid); }

bool NamedProtocol::MayEnd() { return quits_; }

std::vector<std::string> NamedProtocol::Directories() {
  std::vector<std::string> directories = {daemon_.settings().pipe_directory};
  daemon_.machine()->Read([&](const MachineState& state) {
    for (const MpsServer* server : MpsServersOf(state, daemon_.serial())) {
      directories.emplace_back(server->pipe_directory);
      for (const MpsNamespace* one : MpsNamespacesOf(state, server->serial))
        directories.push_back(std::string(server->pipe_directory) + "/" + one->name);
    }
    return Rc::kOk;
  });
  return directories;
}

}  // namespace tranche::sim::mps
