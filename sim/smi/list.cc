#include <cstdio>

#include "sim/smi/verbs.h"

namespace tranche::sim::smi {

int ListDevices(const Nvml& nvml, const std::vector<Board>& boards) {
  nvmlReturn_t worst = NVML_SUCCESS;
  for (const Board& board : boards) {
    if (board.code != NVML_SUCCESS) {
      std::printf("Unable to determine the device handle for gpu %u: %s\n", board.index,
                  nvml.ErrorText(board.code).c_str());
      worst = board.code;
      continue;
    }
    std::printf("GPU %u: %s (UUID: %s)\n", board.index, board.name.c_str(), board.uuid.c_str());
    for (const MigDevice& mig : ListMigDevices(nvml, board)) {
      std::printf("  MIG %-11s Device %2u: (UUID: %s)\n", mig.profile.c_str(), mig.index,
                  mig.uuid.c_str());
    }
  }
  return ExitCode(worst);
}

}  // namespace tranche::sim::smi
