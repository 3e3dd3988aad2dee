#include <algorithm>
#include <cstdio>

#include "sim/smi/mig_tables.h"
#include "sim/smi/verbs.h"

// `nvidia-smi mig`: creating and destroying instances. Like the original it takes one after the
// other, and stops at the first that fails; what it did before stays.
namespace tranche::sim::smi {
namespace {

constexpr const char* kHelp =
    "\n    mig -- Multi Instance GPU management.\n"
    "\n    Usage: nvidia-smi mig [options]\n"
    "\n    Options include:\n"
    "    [-h | --help]: Display help information\n"
    "    [-i | --id]: Enumeration index, PCI bus ID or UUID, several with commas\n"
    "    [-gi | --gpu-instance-id]: GPU instance ID, several with commas\n"
    "    [-ci | --compute-instance-id]: Compute instance ID, several with commas\n"
    "    [-lgip | --list-gpu-instance-profiles]\n"
    "    [-lgipp | --list-gpu-instance-possible-placements]\n"
    "    [-lgi | --list-gpu-instances]\n"
    "    [-cgi | --create-gpu-instance]: profile names or IDs, each with a placement if wanted\n"
    "                                    (9 or 3g.40gb or 9:4), several with commas\n"
    "    [-C | --default-compute-instance]: with -cgi, a compute instance in each\n"
    "    [-dgi | --destroy-gpu-instance]\n"
    "    [-lcip | --list-compute-instance-profiles]\n"
    "    [-lci | --list-compute-instances]\n"
    "    [-cci | --create-compute-instance]: profiles as above; alone, the whole GPU instance\n"
    "    [-dci | --destroy-compute-instance]\n\n";

struct Wanted {
  std::string ids, create_gis;
  std::optional<std::string> create_cis;
  std::vector<unsigned> gis, cis;
  std::string verb;
  bool with_cis = false;
};

std::optional<unsigned> Number(const std::string& text) {
  if (text.empty() || text.size() > 6 ||
      !std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }))
    return std::nullopt;
  return static_cast<unsigned>(std::stoul(text));
}

bool Numbers(const std::string& text, std::vector<unsigned>* out) {
  for (const std::string& part : Split(text, ',')) {
    const auto number = Number(part);
    if (!number) return false;
    out->push_back(*number);
  }
  return !out->empty();
}

std::string LongForm(const std::string& option) {
  constexpr const char* kForms[][2] = {{"--list-gpu-instance-profiles", "-lgip"},
                                       {"--list-gpu-instance-possible-placements", "-lgipp"},
                                       {"--list-gpu-instances", "-lgi"},
                                       {"--list-compute-instance-profiles", "-lcip"},
                                       {"--list-compute-instances", "-lci"},
                                       {"--create-gpu-instance", "-cgi"},
                                       {"--create-compute-instance", "-cci"},
                                       {"--destroy-gpu-instance", "-dgi"},
                                       {"--destroy-compute-instance", "-dci"},
                                       {"--default-compute-instance", "-C"},
                                       {"--gpu-instance-id", "-gi"},
                                       {"--compute-instance-id", "-ci"},
                                       {"--id", "-i"}};
  for (const auto& form : kForms) {
    if (option == form[0]) return form[1];
  }
  return option;
}

// The exit code when the words say something else.
std::optional<int> Parse(Words words, Wanted* wanted) {
  while (!words.empty()) {
    const std::string word = words.Option();
    const std::string option = LongForm(word);
    if (option == "-i") {
      wanted->ids = words.Value().value_or("");
    } else if (option == "-gi" || option == "-ci") {
      const std::string ids = words.Value().value_or("");
      if (!Numbers(ids, option == "-gi" ? &wanted->gis : &wanted->cis))
        return Refuse(word + " " + ids);
    } else if (option == "-C") {
      wanted->with_cis = true;
    } else if (option == "-h" || option == "--help") {
      std::fputs(kHelp, stdout);
      return 0;
    } else if (option == "-cgi") {
      wanted->verb = option;
      wanted->create_gis = words.Value().value_or("");
    } else if (option == "-cci") {
      wanted->verb = option;
      wanted->create_cis = words.ValueIfAny();
    } else if (option == "-lgip" || option == "-lgipp" || option == "-lgi" || option == "-lcip" ||
               option == "-lci" || option == "-dgi" || option == "-dci") {
      wanted->verb = option;
    } else {
      return Refuse(word);
    }
  }
  if (!wanted->verb.empty()) return std::nullopt;
  std::fputs(kHelp, stdout);
  return ExitCode(NVML_ERROR_INVALID_ARGUMENT);
}

struct Tuple {
  std::string profile;
  std::optional<unsigned> start;
};

// "9", "3g.40gb", "MIG 3g.40gb", each with ":4" or without.
std::optional<Tuple> ParseTuple(std::string text) {
  Tuple tuple;
  const size_t colon = text.rfind(':');
  if (colon != std::string::npos) {
    tuple.start = Number(text.substr(colon + 1));
    if (!tuple.start) return std::nullopt;
    text.resize(colon);
  }
  tuple.profile = text.rfind("MIG ", 0) == 0 ? text.substr(4) : text;
  if (tuple.profile.empty()) return std::nullopt;
  return tuple;
}

template <typename Profile>
const Profile* FindProfile(const std::vector<Profile>& profiles, const std::string& wanted) {
  for (const Profile& profile : profiles) {
    if (wanted == profile.name || wanted == std::to_string(profile.info.id)) return &profile;
  }
  return nullptr;
}

nvmlReturn_t CreateCi(const Nvml& nvml, const Board& board, const Gi& gi, const CiProfile& profile,
                      std::optional<unsigned> start) {
  nvmlComputeInstance_t handle{};
  nvmlReturn_t code = NVML_SUCCESS;
  if (start) {
    const nvmlComputeInstancePlacement_t place{*start, profile.info.sliceCount};
    code = CALL(nvml, nvmlGpuInstanceCreateComputeInstanceWithPlacement, gi.handle, profile.info.id,
                &place, &handle);
  } else {
    code = CALL(nvml, nvmlGpuInstanceCreateComputeInstance, gi.handle, profile.info.id, &handle);
  }
  if (code != NVML_SUCCESS) {
    std::printf(
        "Unable to create a compute instance on GPU %2u GPU instance ID %2u using profile %u: %s\n"
        "Failed to create compute instances: %s\n",
        board.index, gi.info.id, profile.info.id, nvml.ErrorText(code).c_str(),
        nvml.ErrorText(code).c_str());
    return code;
  }
  nvmlComputeInstanceInfo_t info{};
  CALL(nvml, nvmlComputeInstanceGetInfo_v2, handle, &info);
  std::printf(
      "Successfully created compute instance ID %2u on GPU %2u GPU instance ID %2u using profile "
      "MIG %s (ID %2u)\n",
      info.id, board.index, gi.info.id, profile.name.c_str(), profile.info.id);
  return code;
}

nvmlReturn_t CreateWholeCi(const Nvml& nvml, const Board& board, const Gi& gi) {
  for (const CiProfile& profile : ListCiProfiles(nvml, gi.handle, gi.profile)) {
    if (profile.is_whole) return CreateCi(nvml, board, gi, profile, std::nullopt);
  }
  return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn_t CreateGi(const Nvml& nvml, const Board& board, const Tuple& tuple, bool with_ci) {
  const auto profiles = ListGiProfiles(nvml, board);
  const GiProfile* profile = FindProfile(profiles, tuple.profile);
  nvmlReturn_t code = NVML_ERROR_INVALID_ARGUMENT;
  nvmlGpuInstance_t handle{};
  if (profile != nullptr && tuple.start) {
    nvmlGpuInstancePlacement_t places[32];
    unsigned count = 32;
    code = CALL(nvml, nvmlDeviceGetGpuInstancePossiblePlacements_v2, board.device, profile->info.id,
                places, &count);
    if (code == NVML_SUCCESS) {
      const nvmlGpuInstancePlacement_t place{*tuple.start, count ? places[0].size : 0};
      code = CALL(nvml, nvmlDeviceCreateGpuInstanceWithPlacement, board.device, profile->info.id,
                  &place, &handle);
    }
  } else if (profile != nullptr) {
    code = CALL(nvml, nvmlDeviceCreateGpuInstance, board.device, profile->info.id, &handle);
  }
  if (code != NVML_SUCCESS) {
    std::printf(
        "Unable to create a GPU instance on GPU %2u using profile %s: %s\n"
        "Failed to create GPU instances: %s\n",
        board.index, tuple.profile.c_str(), nvml.ErrorText(code).c_str(),
        nvml.ErrorText(code).c_str());
    return code;
  }
  Gi gi;
  gi.handle = handle;
  gi.profile = *profile;
  CALL(nvml, nvmlGpuInstanceGetInfo, handle, &gi.info);
  std::printf("Successfully created GPU instance ID %2u on GPU %2u using profile MIG %s (ID %2u)\n",
              gi.info.id, board.index, profile->name.c_str(), profile->info.id);
  return with_ci ? CreateWholeCi(nvml, board, gi) : code;
}

int CreateGis(const Nvml& nvml, const std::vector<Board>& boards, const Wanted& wanted) {
  for (const Board& board : boards) {
    for (const std::string& text : Split(wanted.create_gis, ',')) {
      const auto tuple = ParseTuple(text);
      if (!tuple) return Refuse("-cgi " + wanted.create_gis);
      const nvmlReturn_t code = CreateGi(nvml, board, *tuple, wanted.with_cis);
      if (code != NVML_SUCCESS) return ExitCode(code);
    }
  }
  return wanted.create_gis.empty() ? Refuse("-cgi") : 0;
}

int CreateCis(const Nvml& nvml, const std::vector<Board>& boards, const Wanted& wanted) {
  bool any = false;
  for (const Board& board : boards) {
    for (const Gi& gi : ListGis(nvml, board)) {
      if (!IsAmong(wanted.gis, gi.info.id)) continue;
      any = true;
      if (!wanted.create_cis) {
        const nvmlReturn_t code = CreateWholeCi(nvml, board, gi);
        if (code != NVML_SUCCESS) return ExitCode(code);
        continue;
      }
      const auto profiles = ListCiProfiles(nvml, gi.handle, gi.profile);
      for (const std::string& text : Split(*wanted.create_cis, ',')) {
        const auto tuple = ParseTuple(text);
        const CiProfile* profile = tuple ? FindProfile(profiles, tuple->profile) : nullptr;
        if (profile == nullptr) return Refuse("-cci " + *wanted.create_cis);
        const nvmlReturn_t code = CreateCi(nvml, board, gi, *profile, tuple->start);
        if (code != NVML_SUCCESS) return ExitCode(code);
      }
    }
  }
  if (any) return 0;
  std::printf("No GPU instances found: Not Found\n");
  return ExitCode(NVML_ERROR_NOT_FOUND);
}

int DestroyCis(const Nvml& nvml, const std::vector<Board>& boards, const Wanted& wanted) {
  bool any = false;
  for (const Board& board : boards) {
    for (const Gi& gi : ListGis(nvml, board)) {
      if (!IsAmong(wanted.gis, gi.info.id)) continue;
      for (const Ci& ci : ListCis(nvml, gi)) {
        if (!IsAmong(wanted.cis, ci.info.id)) continue;
        any = true;
        const nvmlReturn_t code = CALL(nvml, nvmlComputeInstanceDestroy, ci.handle);
        if (code != NVML_SUCCESS) {
          const std::string why = nvml.ErrorText(code);
          std::printf(
              "Unable to destroy compute instance ID %2u from GPU %2u GPU instance ID %2u: %s\n"
              "Failed to destroy compute instances: %s\n",
              ci.info.id, board.index, gi.info.id, why.c_str(), why.c_str());
          return ExitCode(code);
        }
        std::printf(
            "Successfully destroyed compute instance ID %2u from GPU %2u GPU instance ID %2u\n",
            ci.info.id, board.index, gi.info.id);
      }
    }
  }
  if (any) return 0;
  std::printf("No compute instances found: Not Found\n");
  return ExitCode(NVML_ERROR_NOT_FOUND);
}

int DestroyGis(const Nvml& nvml, const std::vector<Board>& boards, const Wanted& wanted) {
  bool any = false;
  for (const Board& board : boards) {
    for (const Gi& gi : ListGis(nvml, board)) {
      if (!IsAmong(wanted.gis, gi.info.id)) continue;
      any = true;
      const nvmlReturn_t code = CALL(nvml, nvmlGpuInstanceDestroy, gi.handle);
      if (code != NVML_SUCCESS) {
        const std::string why = nvml.ErrorText(code);
        std::printf(
            "Unable to destroy GPU instance ID %2u from GPU %2u: %s\n"
            "Failed to destroy GPU instances: %s\n",
            gi.info.id, board.index, why.c_str(), why.c_str());
        return ExitCode(code);
      }
      std::printf("Successfully destroyed GPU instance ID %2u from GPU %2u\n", gi.info.id,
                  board.index);
    }
  }
  if (any) return 0;
  std::printf("No GPU instances found: Not Found\n");
  return ExitCode(NVML_ERROR_NOT_FOUND);
}

bool HasMig(const Nvml& nvml, const Board& board) {
  unsigned now = 0, pending = 0;
  return board.code == NVML_SUCCESS &&
         CALL(nvml, nvmlDeviceGetMigMode, board.device, &now, &pending) == NVML_SUCCESS &&
         now == NVML_DEVICE_MIG_ENABLE;
}

}  // namespace

int Mig(const Nvml& nvml, Words words) {
  Wanted wanted;
  if (const auto code = Parse(std::move(words), &wanted)) return *code;
  std::vector<Board> boards = Select(ListBoards(nvml), wanted.ids);
  if (boards.empty()) return NoDevices();
  boards.erase(std::remove_if(boards.begin(), boards.end(),
                              [&](const Board& board) { return !HasMig(nvml, board); }),
               boards.end());
  if (boards.empty()) {
    std::printf("No MIG-enabled devices found.\n");
    return ExitCode(NVML_ERROR_NOT_FOUND);
  }
  if (wanted.verb == "-lgip") return PrintGiProfiles(nvml, boards);
  if (wanted.verb == "-lgipp") return PrintGiPlacements(nvml, boards);
  if (wanted.verb == "-lgi") return PrintGis(nvml, boards);
  if (wanted.verb == "-lcip") return PrintCiProfiles(nvml, boards, wanted.gis);
  if (wanted.verb == "-lci") return PrintCis(nvml, boards, wanted.gis);
  if (wanted.verb == "-cgi") return CreateGis(nvml, boards, wanted);
  if (wanted.verb == "-cci") return CreateCis(nvml, boards, wanted);
  if (wanted.verb == "-dci") return DestroyCis(nvml, boards, wanted);
  return DestroyGis(nvml, boards, wanted);
}

}  // namespace tranche::sim::smi
