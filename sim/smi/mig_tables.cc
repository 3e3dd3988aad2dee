#include "sim/smi/mig_tables.h"

#include <algorithm>
#include <cstdio>

namespace tranche::sim::smi {
namespace {

void Rule(int width) {
  std::printf("+%s+\n", std::string(static_cast<size_t>(width), '-').c_str());
}
void DoubleRule(int width) {
  std::printf("|%s|\n", std::string(static_cast<size_t>(width), '=').c_str());
}

int NothingFound(const char* what) {
  std::printf("No %s found: Not Found\n", what);
  return ExitCode(NVML_ERROR_NOT_FOUND);
}

}  // namespace

bool IsAmong(const std::vector<unsigned>& ids, unsigned id) {
  return ids.empty() || std::find(ids.begin(), ids.end(), id) != ids.end();
}

int PrintGiProfiles(const Nvml& nvml, const std::vector<Board>& boards) {
  constexpr int kWidth = 79;
  Rule(kWidth);
  std::printf(
      "| GPU instance profiles:%56s|\n"
      "| GPU   Name               ID    Instances   Memory     P2P    SM    DEC   ENC  |\n"
      "|                                Free/Total   GiB              CE    JPEG  OFA  |\n",
      "");
  DoubleRule(kWidth);
  for (const Board& board : boards) {
    for (const GiProfile& profile : ListGiProfiles(nvml, board)) {
      const auto& info = profile.info;
      unsigned left = 0;
      CALL(nvml, nvmlDeviceGetGpuInstanceRemainingCapacity, board.device, info.id, &left);
      std::printf("| %3u  %-20s%2u     %u/%u        %-11.2f%-3s%6u%6u%6u   |\n", board.index,
                  ("MIG " + profile.name).c_str(), info.id, left, info.instanceCount,
                  static_cast<double>(info.memorySizeMB) / 1024, info.isP2pSupported ? "Yes" : "No",
                  info.multiprocessorCount, info.decoderCount, info.encoderCount);
      std::printf("|%64u%6u%6u   |\n", info.copyEngineCount, info.jpegCount, info.ofaCount);
      Rule(kWidth);
    }
  }
  return 0;
}

int PrintGiPlacements(const Nvml& nvml, const std::vector<Board>& boards) {
  for (const Board& board : boards) {
    for (const GiProfile& profile : ListGiProfiles(nvml, board)) {
      nvmlGpuInstancePlacement_t places[32];
      unsigned count = 32;
      if (CALL(nvml, nvmlDeviceGetGpuInstancePossiblePlacements_v2, board.device, profile.info.id,
               places, &count) != NVML_SUCCESS)
        continue;
      std::string starts;
      for (unsigned i = 0; i < count; ++i)
        starts += (i ? "," : "") + std::to_string(places[i].start);
      std::printf("GPU %2u Profile ID %2u %s: {%s}:%u\n", board.index, profile.info.id,
                  count == 1 ? "Placement " : "Placements", starts.c_str(),
                  count == 0 ? 0 : places[0].size);
    }
  }
  return 0;
}

int PrintGis(const Nvml& nvml, const std::vector<Board>& boards) {
  constexpr int kWidth = 57;
  bool any = false;
  for (const Board& board : boards) {
    for (const Gi& gi : ListGis(nvml, board)) {
      if (!any) {
        Rule(kWidth);
        std::printf(
            "| GPU instances:%42s|\n"
            "| GPU   Name               Profile  Instance   Placement  |\n"
            "|                            ID       ID       Start:Size |\n",
            "");
        DoubleRule(kWidth);
      }
      any = true;
      std::printf("| %3u  %-21s%3u%9u%11u:%-6u|\n", board.index, ("MIG " + gi.profile.name).c_str(),
                  gi.info.profileId, gi.info.id, gi.info.placement.start, gi.info.placement.size);
      Rule(kWidth);
    }
  }
  return any ? 0 : NothingFound("GPU instances");
}

int PrintCiProfiles(const Nvml& nvml, const std::vector<Board>& boards,
                    const std::vector<unsigned>& gis) {
  constexpr int kWidth = 86;
  bool any = false;
  for (const Board& board : boards) {
    for (const Gi& gi : ListGis(nvml, board)) {
      if (!IsAmong(gis, gi.info.id)) continue;
      if (!any) {
        Rule(kWidth);
        std::printf(
            "| Compute instance profiles:%59s|\n"
            "| GPU     GPU       Name             Profile  Instances   Exclusive       Shared      "
            " "
            "|\n"
            "|       Instance                       ID     Free/Total     SM       DEC   ENC   OFA "
            " "
            "|\n"
            "|         ID                                                          CE    JPEG      "
            " "
            "|\n",
            "");
        DoubleRule(kWidth);
      }
      any = true;
      for (const CiProfile& profile : ListCiProfiles(nvml, gi.handle, gi.profile)) {
        const auto& info = profile.info;
        unsigned left = 0;
        CALL(nvml, nvmlGpuInstanceGetComputeInstanceRemainingCapacity, gi.handle, info.id, &left);
        std::printf("| %3u%7u       %-20s%2u%c     %u/%u%13u%9u%6u%6u   |\n", board.index,
                    gi.info.id, ("MIG " + profile.name).c_str(), info.id,
                    profile.is_whole ? '*' : ' ', left, info.instanceCount,
                    info.multiprocessorCount, info.sharedDecoderCount, info.sharedEncoderCount,
                    info.sharedOfaCount);
        std::printf("|%71u%6u         |\n", info.sharedCopyEngineCount, info.sharedJpegCount);
        Rule(kWidth);
      }
    }
  }
  return any ? 0 : NothingFound("GPU instances");
}

int PrintCis(const Nvml& nvml, const std::vector<Board>& boards, const std::vector<unsigned>& gis) {
  constexpr int kWidth = 68;
  bool any = false;
  for (const Board& board : boards) {
    for (const Gi& gi : ListGis(nvml, board)) {
      if (!IsAmong(gis, gi.info.id)) continue;
      for (const Ci& ci : ListCis(nvml, gi)) {
        if (!any) {
          Rule(kWidth);
          std::printf(
              "| Compute instances:%49s|\n"
              "| GPU     GPU       Name             Profile   Instance   Placement  |\n"
              "|       Instance                       ID        ID       Start:Size |\n"
              "|         ID                                                         |\n",
              "");
          DoubleRule(kWidth);
        }
        any = true;
        std::printf("| %3u%7u       %-20s%2u%10u%11u:%-6u|\n", board.index, gi.info.id,
                    ("MIG " + ci.profile.name).c_str(), ci.info.profileId, ci.info.id,
                    ci.info.placement.start, ci.info.placement.size);
        Rule(kWidth);
      }
    }
  }
  return any ? 0 : NothingFound("compute instances");
}

}  // namespace tranche::sim::smi
