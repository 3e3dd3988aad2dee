#include "engine/launch_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

namespace tranche {
namespace {

constexpr const char* kModelServer = "tranche-model-server";
constexpr const char* kPort = "${PORT}";

// Engines that fetch checkpoints know models by the name of the repository they were published
// under.
std::string PublishedName(const std::string& name, const Catalog& catalog) {
  const Result<const CatalogModel*> model = catalog.FindModel(name);
  if (!model) return name;
  for (const std::string& alias : (*model)->aliases) {
    if (alias.find('/') != std::string::npos) return alias;
  }
  return name;
}

Result<std::vector<std::string>> EngineCommand(const Workload& workload, const Catalog& catalog,
                                               const std::string& program_directory) {
  const std::string model = workload.model ? workload.model->name : "";
  switch (workload.engine) {
    case ServingEngine::kCommand:
      if (!workload.command.empty()) return workload.command;
      // Its image says what is run.
      if (!workload.image.empty()) return std::vector<std::string>{};
      return Fail(ErrorCode::kInvalid,
                  fmt::format("workload '{}' has neither a command nor an engine", workload.name),
                  "give it `command: [...]` or `engine:`");
    case ServingEngine::kModelServer: {
      const std::string program =
          program_directory.empty() ? kModelServer : program_directory + "/" + kModelServer;
      std::vector<std::string> argv{program, "--model", model.empty() ? workload.name : model,
                                    "--port", kPort};
      // Without a model to size, the spec says what it is to hold: 1 GiB for itself, and of the
      // rest one half weights, the other for what it is asked.
      if (!workload.model && workload.memory) {
        const Bytes memory = workload.memory->request;
        argv.insert(argv.end(), {"--memory", fmt::format("{}", memory.value), "--weights",
                                 fmt::format("{}", (memory - GiB(1)).value / 2)});
      }
      return argv;
    }
    case ServingEngine::kVllm: {
      std::vector<std::string> argv{"vllm", "serve"};
      if (!model.empty()) argv.push_back(PublishedName(model, catalog));
      for (const char* argument : {"--host", "127.0.0.1", "--port", kPort}) {
        argv.emplace_back(argument);
      }
      return argv;
    }
    case ServingEngine::kTriton:
      return std::vector<std::string>{"tritonserver", "--http-address", "127.0.0.1", "--http-port",
                                      kPort};
    case ServingEngine::kLlamaCpp:
      return std::vector<std::string>{"llama-server", "--host", "127.0.0.1", "--port", kPort};
  }
  return Fail(ErrorCode::kInvalid, fmt::format("workload '{}': unknown engine", workload.name));
}

}  // namespace

Result<std::vector<std::string>> CommandOf(const Launch& launch, const Catalog& catalog,
                                           const std::string& program_directory) {
  Result<std::vector<std::string>> argv =
      EngineCommand(launch.workload, catalog, program_directory);
  if (!argv) return argv;
  for (const std::string& flag : launch.engine_flags) argv->push_back(flag);
  // Last, so that what the user says wins.
  for (const std::string& argument : launch.workload.args) argv->push_back(argument);
  return argv;
}

std::optional<ContainerUse> ContainerOf(const Workload& workload, std::vector<std::string>* argv) {
  if (workload.image.empty()) return std::nullopt;
  ContainerUse container{workload.image, {}};
  if (workload.engine != ServingEngine::kCommand || !workload.command.empty()) {
    container.entrypoint = argv->front();
    argv->erase(argv->begin());
  }
  return container;
}

bool NeedsPort(const Workload& workload) {
  if (workload.engine != ServingEngine::kCommand || workload.port || !workload.route.empty()) {
    return true;
  }
  const auto asks = [](const std::string& text) { return text.find(kPort) != std::string::npos; };
  return std::any_of(workload.command.begin(), workload.command.end(), asks) ||
         std::any_of(workload.args.begin(), workload.args.end(), asks) ||
         std::any_of(workload.env.begin(), workload.env.end(),
                     [&](const auto& variable) { return asks(variable.second); });
}

std::string OwnProgramDirectory() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "";
  const std::filesystem::path directory = self.parent_path();
  return std::filesystem::exists(directory / kModelServer, error) ? directory.string() : "";
}

}  // namespace tranche
