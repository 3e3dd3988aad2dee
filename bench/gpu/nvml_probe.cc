// Asks NVML of a real GPU everything that our facts about it rest on, changes nothing, and writes
// the answers as JSON: profiles and placements in both struct versions, memory by both calls,
// process lists, GPM, the codes of deliberately wrong calls, and all symbols that the library
// exports.
//
//   nvml_probe [--library PATH] > nvml.json

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "abi/nvml.h"
#include "exported_symbols.h"
#include "json_writer.h"

namespace tranche::gpu_check {
namespace {

constexpr unsigned kProfiles = 18;        // enums 0..17 as of NVML 13
constexpr unsigned kMostPlacements = 64;  // no GPU has more slots
constexpr unsigned kMostProcesses = 256;
constexpr nvmlReturn_t kNoSymbol = static_cast<nvmlReturn_t>(-1);  // not one of NVML's codes

class Nvml {
 public:
  explicit Nvml(void* handle) : handle_(handle) {}

  // Calls `name`, of the type of our declaration; kNoSymbol where the driver lacks it.
  template <typename Function, typename... Arguments>
  nvmlReturn_t Call(const char* name, Arguments... arguments) const {
    auto* function = reinterpret_cast<Function*>(dlsym(handle_, name));
    return function == nullptr ? kNoSymbol : function(arguments...);
  }

 private:
  void* handle_;
};

#define CALL(nvml, function, ...) (nvml).Call<decltype(::function)>(#function, ##__VA_ARGS__)

void PutCode(JsonWriter& json, const char* key, nvmlReturn_t code) {
  if (code == kNoSymbol) {
    json.Put(key, "no such symbol");
  } else {
    json.Put(key, static_cast<int>(code));
  }
}

template <typename Info>
void PutEngines(JsonWriter& json, const Info& info) {
  json.Put("id", info.id);
  json.Put("name", info.name);
  json.Put("slices", info.sliceCount);
  json.Put("instances", info.instanceCount);
  json.Put("sm", info.multiprocessorCount);
  json.Put("copy_engines", info.copyEngineCount);
  json.Put("decoders", info.decoderCount);
  json.Put("encoders", info.encoderCount);
  json.Put("jpeg", info.jpegCount);
  json.Put("ofa", info.ofaCount);
  json.Put("memory_mib", info.memorySizeMB);
}

void PutPlacements(JsonWriter& json, const Nvml& nvml, nvmlDevice_t device, unsigned id) {
  nvmlGpuInstancePlacement_t places[kMostPlacements];
  unsigned count = kMostPlacements;
  const nvmlReturn_t code =
      CALL(nvml, nvmlDeviceGetGpuInstancePossiblePlacements_v2, device, id, places, &count);
  PutCode(json, "placements_code", code);
  json.BeginArray("placements");
  for (unsigned i = 0; code == NVML_SUCCESS && i < count && i < kMostPlacements; ++i) {
    json.BeginObject();
    json.Put("start", places[i].start);
    json.Put("size", places[i].size);
    json.EndObject();
  }
  json.EndArray();
}

void PutProfiles(JsonWriter& json, const Nvml& nvml, nvmlDevice_t device) {
  json.BeginArray("gpu_instance_profiles");
  for (unsigned profile = 0; profile < kProfiles; ++profile) {
    json.BeginObject();
    json.Put("profile", profile);
    nvmlGpuInstanceProfileInfo_v2_t v2 = {};
    v2.version = nvmlGpuInstanceProfileInfo_v2;
    const nvmlReturn_t code2 =
        CALL(nvml, nvmlDeviceGetGpuInstanceProfileInfoV, device, profile, &v2);
    PutCode(json, "v2_code", code2);
    if (code2 == NVML_SUCCESS) {
      json.BeginObject("v2");
      PutEngines(json, v2);
      json.Put("p2p", v2.isP2pSupported);
      json.EndObject();
      PutPlacements(json, nvml, device, v2.id);
    }
    // The same call with the larger struct.
    nvmlGpuInstanceProfileInfo_v3_t v3 = {};
    v3.version = nvmlGpuInstanceProfileInfo_v3;
    const nvmlReturn_t code3 = CALL(nvml, nvmlDeviceGetGpuInstanceProfileInfoV, device, profile,
                                    reinterpret_cast<nvmlGpuInstanceProfileInfo_v2_t*>(&v3));
    PutCode(json, "v3_code", code3);
    if (code3 == NVML_SUCCESS) {
      json.BeginObject("v3");
      PutEngines(json, v3);
      json.Put("capabilities", v3.capabilities);
      json.EndObject();
    }
    json.EndObject();
  }
  json.EndArray();
}

void PutMemory(JsonWriter& json, const Nvml& nvml, nvmlDevice_t device) {
  nvmlMemory_t v1 = {};
  const nvmlReturn_t code1 = CALL(nvml, nvmlDeviceGetMemoryInfo, device, &v1);
  json.BeginObject("memory_v1");
  PutCode(json, "code", code1);
  if (code1 == NVML_SUCCESS) {
    json.Put("total_bytes", v1.total);
    json.Put("used_bytes", v1.used);
    json.Put("free_bytes", v1.free);
  }
  json.EndObject();
  nvmlMemory_v2_t v2 = {};
  v2.version = nvmlMemory_v2;
  const nvmlReturn_t code2 = CALL(nvml, nvmlDeviceGetMemoryInfo_v2, device, &v2);
  json.BeginObject("memory_v2");
  PutCode(json, "code", code2);
  if (code2 == NVML_SUCCESS) {
    json.Put("total_bytes", v2.total);
    json.Put("reserved_bytes", v2.reserved);
    json.Put("used_bytes", v2.used);
    json.Put("free_bytes", v2.free);
  }
  json.EndObject();
}

void PutProcesses(JsonWriter& json, const Nvml& nvml, nvmlDevice_t device) {
  nvmlProcessInfo_t infos[kMostProcesses];
  unsigned count = kMostProcesses;
  const nvmlReturn_t code =
      CALL(nvml, nvmlDeviceGetComputeRunningProcesses_v3, device, &count, infos);
  json.BeginObject("compute_processes_v3");
  PutCode(json, "code", code);
  json.BeginArray("processes");
  for (unsigned i = 0; code == NVML_SUCCESS && i < count && i < kMostProcesses; ++i) {
    json.BeginObject();
    json.Put("pid", infos[i].pid);
    json.Put("used_bytes", infos[i].usedGpuMemory);
    json.Put("gpu_instance", infos[i].gpuInstanceId);
    json.Put("compute_instance", infos[i].computeInstanceId);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
}

// What wrong calls are answered with: the rules that a simulator must keep.
void PutRefusals(JsonWriter& json, const Nvml& nvml, nvmlDevice_t device) {
  json.BeginObject("refusals");
  nvmlMemory_v2_t memory = {};
  memory.version = 0;
  PutCode(json, "memory_info_v2_without_version",
          CALL(nvml, nvmlDeviceGetMemoryInfo_v2, device, &memory));
  nvmlGpuInstanceProfileInfo_v2_t profile = {};
  profile.version = 1;
  PutCode(json, "profile_info_with_a_wrong_version",
          CALL(nvml, nvmlDeviceGetGpuInstanceProfileInfoV, device, 0u, &profile));
  profile.version = nvmlGpuInstanceProfileInfo_v2;
  PutCode(json, "profile_info_of_no_profile",
          CALL(nvml, nvmlDeviceGetGpuInstanceProfileInfoV, device, 999u, &profile));
  char text[4] = {};
  PutCode(json, "uuid_into_four_bytes", CALL(nvml, nvmlDeviceGetUUID, device, text, 4u));
  PutCode(json, "name_into_nothing", CALL(nvml, nvmlDeviceGetName, device, nullptr, 0u));
  unsigned none = 0;
  PutCode(json, "processes_with_no_room",
          CALL(nvml, nvmlDeviceGetComputeRunningProcesses_v3, device, &none, nullptr));
  json.Put("processes_with_no_room_count", none);
  nvmlDevice_t nobody = {};
  PutCode(json, "handle_of_gpu_999", CALL(nvml, nvmlDeviceGetHandleByIndex_v2, 999u, &nobody));
  PutCode(json, "memory_info_of_a_null_handle",
          CALL(nvml, nvmlDeviceGetMemoryInfo, nobody, nullptr));
  nvmlDevice_t mig = {};
  PutCode(json, "mig_device_0", CALL(nvml, nvmlDeviceGetMigDeviceHandleByIndex, device, 0u, &mig));
  json.EndObject();
}

void PutGpm(JsonWriter& json, const Nvml& nvml, nvmlDevice_t device) {
  json.BeginObject("gpm");
  nvmlGpmSupport_t support = {};
  support.version = NVML_GPM_SUPPORT_VERSION;
  const nvmlReturn_t code = CALL(nvml, nvmlGpmQueryDeviceSupport, device, &support);
  PutCode(json, "code", code);
  if (code == NVML_SUCCESS) json.Put("supported", support.isSupportedDevice != 0);
  nvmlGpmSample_t first = {}, second = {};
  const bool samples = code == NVML_SUCCESS && support.isSupportedDevice != 0 &&
                       CALL(nvml, nvmlGpmSampleAlloc, &first) == NVML_SUCCESS &&
                       CALL(nvml, nvmlGpmSampleAlloc, &second) == NVML_SUCCESS;
  if (samples) {
    PutCode(json, "first_sample_code", CALL(nvml, nvmlGpmSampleGet, device, first));
    usleep(200 * 1000);  // closer ones are refused
    PutCode(json, "second_sample_code", CALL(nvml, nvmlGpmSampleGet, device, second));
    // Static: too large for the stack of a thread.
    static nvmlGpmMetricsGet_t get;
    std::memset(&get, 0, sizeof(get));
    get.version = NVML_GPM_METRICS_GET_VERSION;
    get.sample1 = first;
    get.sample2 = second;
    constexpr unsigned kAsked =
        10;  // graphics, SM, occupancy, tensor, DRAM, FP64/32/16, DFMA, HMMA
    get.numMetrics = kAsked;
    for (unsigned i = 0; i < kAsked; ++i) get.metrics[i].metricId = i + 1;
    PutCode(json, "metrics_code", CALL(nvml, nvmlGpmMetricsGet, &get));
    json.BeginArray("metrics");
    for (unsigned i = 0; i < kAsked; ++i) {
      json.BeginObject();
      json.Put("id", get.metrics[i].metricId);
      PutCode(json, "code", get.metrics[i].nvmlReturn);
      const char* name = get.metrics[i].metricInfo.shortName;
      if (name != nullptr) json.Put("name", name);
      json.Put("value", get.metrics[i].value);
      json.EndObject();
    }
    json.EndArray();
  }
  if (first.handle != nullptr) CALL(nvml, nvmlGpmSampleFree, first);
  if (second.handle != nullptr) CALL(nvml, nvmlGpmSampleFree, second);
  json.EndObject();
}

void PutGpu(JsonWriter& json, const Nvml& nvml, unsigned index) {
  json.BeginObject();
  json.Put("index", index);
  nvmlDevice_t device = {};
  const nvmlReturn_t found = CALL(nvml, nvmlDeviceGetHandleByIndex_v2, index, &device);
  PutCode(json, "code", found);
  if (found == NVML_SUCCESS) {
    char name[NVML_DEVICE_NAME_V2_BUFFER_SIZE] = {};
    if (CALL(nvml, nvmlDeviceGetName, device, name, static_cast<unsigned>(sizeof(name))) ==
        NVML_SUCCESS) {
      json.Put("name", name);
    }
    nvmlPciInfo_t pci = {};
    if (CALL(nvml, nvmlDeviceGetPciInfo_v3, device, &pci) == NVML_SUCCESS) {
      json.Put("pci_device_id", pci.pciDeviceId);
    }
    unsigned current = 0, pending = 0, most = 0;
    const nvmlReturn_t mode = CALL(nvml, nvmlDeviceGetMigMode, device, &current, &pending);
    PutCode(json, "mig_mode_code", mode);
    if (mode == NVML_SUCCESS) {
      json.Put("mig_mode_current", current);
      json.Put("mig_mode_pending", pending);
    }
    const nvmlReturn_t count = CALL(nvml, nvmlDeviceGetMaxMigDeviceCount, device, &most);
    PutCode(json, "max_mig_devices_code", count);
    if (count == NVML_SUCCESS) json.Put("max_mig_devices", most);
    nvmlDeviceAttributes_t attributes = {};
    const nvmlReturn_t attributed = CALL(nvml, nvmlDeviceGetAttributes_v2, device, &attributes);
    PutCode(json, "attributes_code", attributed);
    if (attributed == NVML_SUCCESS) json.Put("sm", attributes.multiprocessorCount);
    PutMemory(json, nvml, device);
    PutProcesses(json, nvml, device);
    PutProfiles(json, nvml, device);
    PutGpm(json, nvml, device);
    PutRefusals(json, nvml, device);
  }
  json.EndObject();
}

int Probe(const char* library) {
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    std::fprintf(stderr, "nvml_probe: %s\n", dlerror());
    return 69;
  }
  const Nvml nvml(handle);
  const nvmlReturn_t init = CALL(nvml, nvmlInit_v2);
  if (init != NVML_SUCCESS) {
    std::fprintf(stderr, "nvml_probe: nvmlInit_v2 answers %d\n", static_cast<int>(init));
    return 69;
  }
  JsonWriter json(stdout);
  json.BeginObject();
  json.Put("format_version", "1.0");
  json.Put("effective_uid", static_cast<unsigned>(geteuid()));
  char driver[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE] = {};
  if (CALL(nvml, nvmlSystemGetDriverVersion, driver, static_cast<unsigned>(sizeof(driver))) ==
      NVML_SUCCESS) {
    json.Put("driver_version", driver);
  }
  unsigned count = 0;
  PutCode(json, "count_code", CALL(nvml, nvmlDeviceGetCount_v2, &count));
  json.BeginArray("gpus");
  for (unsigned i = 0; i < count; ++i) PutGpu(json, nvml, i);
  json.EndArray();
  link_map* map = nullptr;
  json.BeginArray("symbols");
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr) {
    for (const std::string& name : ExportedSymbols(map->l_name)) json.Add(name);
  }
  json.EndArray();
  json.EndObject();
  CALL(nvml, nvmlShutdown);
  return 0;
}

}  // namespace
}  // namespace tranche::gpu_check

int main(int argc, char** argv) {
  const char* library = "libnvidia-ml.so.1";
  if (argc == 3 && std::strcmp(argv[1], "--library") == 0) {
    library = argv[2];
  } else if (argc != 1) {
    std::fprintf(stderr, "nvml_probe [--library PATH]\n");
    return 64;
  }
  return tranche::gpu_check::Probe(library);
}
