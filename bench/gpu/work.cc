#include "work.h"

#include <cstring>

namespace tranche::gpu_check {
namespace {

struct Command {
  const char* name;
  int (*run)(const Options&);
};

constexpr Command kCommands[] = {
    {"share", Share},   {"probe", Probe},   {"overhead", Overhead}, {"facts", Facts},
    {"slices", Slices}, {"storm", Storm},   {"used", Used},         {"hold", Hold},
    {"clock", Clock},   {"device", Device}, {"start", Start},       {"kernel-name", KernelName},
};

}  // namespace
}  // namespace tranche::gpu_check

// gpu_work COMMAND [NAME=VALUE...]
int main(int argc, char** argv) {
  using namespace tranche::gpu_check;
  for (const auto& command : kCommands) {
    if (argc < 2 || std::strcmp(command.name, argv[1]) != 0) continue;
    const Options options(argc - 2, argv + 2);
    const int code = command.run(options);
    std::fflush(stdout);
    // What the driver does at exit is not measured, and may fail after a reset.
    std::_Exit(code);
  }
  Give("gpu_work: no such command", 64);
}
