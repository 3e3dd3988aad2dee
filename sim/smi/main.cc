#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "sim/smi/verbs.h"

// nvidia-smi of a simulated machine. It sees GPUs through libnvidia-ml.so.1, as the original does;
// resets and time slices, which have no call there, it does to the machine itself.

using namespace tranche::sim;
using namespace tranche::sim::smi;

namespace {

constexpr const char* kHelp =
    "NVIDIA System Management Interface of a simulated machine\n\n"
    "nvidia-smi [OPTION1 [ARG1]] [OPTION2 [ARG2]] ...\n\n"
    "    -h,   --help                Print usage information and exit.\n"
    "    -L,   --list-gpus           List the GPUs and their MIG devices.\n"
    "    <no arguments>              Show a summary of GPUs.\n"
    "    -i,   --id=                 Target GPUs: index, UUID, serial or PCI bus id.\n"
    "    -q,   --query               Display GPU info; -x as XML.\n"
    "    --query-gpu=FIELDS --format=csv[,noheader][,nounits]\n"
    "    --query-compute-apps=FIELDS --format=csv[,noheader][,nounits]\n"
    "    -mig, --multi-instance-gpu= 0/DISABLED, 1/ENABLED.\n"
    "    -c,   --compute-mode=       0/DEFAULT, 2/PROHIBITED, 3/EXCLUSIVE_PROCESS.\n"
    "    -pm,  --persistence-mode=   0/DISABLED, 1/ENABLED.\n"
    "    -r,   --gpu-reset           Reset GPUs.\n"
    "    mig                         Multi-instance GPU management; `nvidia-smi mig -h`.\n"
    "    compute-policy              Time slices; `nvidia-smi compute-policy -h`.\n";

int NoDriver(const Nvml& nvml) {
  switch (nvml.code()) {
    case NVML_ERROR_DRIVER_NOT_LOADED:
      std::printf(
          "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure "
          "that the latest NVIDIA driver is installed and running.\n\n");
      break;
    case NVML_ERROR_LIBRARY_NOT_FOUND:
      std::printf(
          "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that "
          "the NVIDIA Display Driver is properly installed and present in your system.\nPlease "
          "also "
          "try adding directory that contains libnvidia-ml.so to your system PATH.\n");
      break;
    default:
      std::printf("Failed to initialize NVML: %s\n", nvml.ErrorText(nvml.code()).c_str());
  }
  return ExitCode(nvml.code());
}

// The exit code when the words are not understood, or only ask for help.
std::optional<int> Parse(Words words, Request* request) {
  while (!words.empty()) {
    const std::string option = words.Option();
    if (option == "-L" || option == "--list-gpus") {
      request->list = true;
    } else if (option == "-i" || option == "--id") {
      request->ids = words.Value().value_or("");
    } else if (option == "--query-gpu") {
      request->query_gpu = words.Value().value_or("");
    } else if (option == "--query-compute-apps") {
      request->query_apps = words.Value().value_or("");
    } else if (option == "--format") {
      request->format = words.Value().value_or("");
    } else if (option == "-q" || option == "--query") {
      request->details = true;
    } else if (option == "-x" || option == "--xml-format") {
      request->xml = true;
    } else if (option == "-mig" || option == "--multi-instance-gpu") {
      request->set_mig = words.Value().value_or("");
    } else if (option == "-c" || option == "--compute-mode") {
      request->set_compute_mode = words.Value().value_or("");
    } else if (option == "-pm" || option == "--persistence-mode") {
      request->set_persistence = words.Value().value_or("");
    } else if (option == "-r" || option == "--gpu-reset") {
      request->reset = true;
    } else if (option == "-h" || option == "--help") {
      std::fputs(kHelp, stdout);
      return 0;
    } else {
      return Refuse(option);
    }
  }
  return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  const char* variable = std::getenv("TRANCHE_SIM_DIR");
  const std::string machine = variable == nullptr ? "" : variable;
  const std::string verb = arguments.empty() ? "" : arguments[0];
  const bool is_verb = verb == "mig" || verb == "compute-policy";
  if (is_verb) arguments.erase(arguments.begin());

  Request request;
  if (!is_verb) {
    if (const auto code = Parse(Words(arguments), &request)) return *code;
  }
  const Nvml nvml;
  if (nvml.code() != NVML_SUCCESS) return NoDriver(nvml);
  if (verb == "mig") return Mig(nvml, Words(arguments));
  if (verb == "compute-policy") return ComputePolicy(nvml, machine, Words(arguments));

  const std::vector<Board> boards = Select(ListBoards(nvml), request.ids);
  if (boards.empty()) return NoDevices();
  if (request.set_mig) return SetMigMode(nvml, boards, *request.set_mig);
  if (request.set_compute_mode) return SetComputeMode(nvml, boards, *request.set_compute_mode);
  if (request.set_persistence) return SetPersistence(nvml, boards, *request.set_persistence);
  if (request.reset) return ResetGpus(machine, boards);
  if (request.list) return ListDevices(nvml, boards);
  if (!request.query_gpu.empty()) return QueryGpus(nvml, boards, request);
  if (!request.query_apps.empty()) return QueryApps(nvml, boards, request);
  if (request.details) return Describe(nvml, boards, request.xml);
  return Summarize(nvml, boards);
}
