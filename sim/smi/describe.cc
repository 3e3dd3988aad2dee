#include <cstdio>

#include "sim/smi/verbs.h"

// -q, with -x as XML: what scripts ask of it (identity, modes, memory, MIG devices), not all of the
// original's hundreds of lines.
namespace tranche::sim::smi {
namespace {

struct Facts {
  std::string persistence = "N/A", mig_now = "N/A", mig_later = "N/A", compute = "N/A";
  std::string total = "N/A", reserved = "N/A", used = "N/A", free = "N/A";
};

std::string OnOff(unsigned value) { return value ? "Enabled" : "Disabled"; }

Facts Look(const Nvml& nvml, const Board& board) {
  Facts facts;
  constexpr const char* kModes[] = {"Default", "Exclusive_Thread", "Prohibited",
                                    "Exclusive_Process"};
  unsigned value = 0, later = 0;
  if (CALL(nvml, nvmlDeviceGetPersistenceMode, board.device, &value) == NVML_SUCCESS)
    facts.persistence = OnOff(value);
  if (CALL(nvml, nvmlDeviceGetMigMode, board.device, &value, &later) == NVML_SUCCESS) {
    facts.mig_now = OnOff(value);
    facts.mig_later = OnOff(later);
  }
  if (CALL(nvml, nvmlDeviceGetComputeMode, board.device, &value) == NVML_SUCCESS)
    facts.compute = kModes[value & 3];
  nvmlMemory_v2_t memory{};
  memory.version = nvmlMemory_v2;
  if (CALL(nvml, nvmlDeviceGetMemoryInfo_v2, board.device, &memory) == NVML_SUCCESS) {
    const auto mib = [](unsigned long long bytes) { return Format("%llu MiB", bytes >> 20); };
    facts.total = mib(memory.total);
    facts.reserved = mib(memory.reserved);
    facts.used = mib(memory.used);
    facts.free = mib(memory.free);
  }
  return facts;
}

void Text(const Nvml& nvml, const Board& board, const Facts& facts) {
  const auto line = [](const char* name, const std::string& value) {
    std::printf("    %-34s: %s\n", name, value.c_str());
  };
  const auto inner = [](const char* name, const std::string& value) {
    std::printf("        %-30s: %s\n", name, value.c_str());
  };
  std::printf("\nGPU %s\n", board.bus_id.c_str());
  line("Product Name", board.name);
  line("Persistence Mode", facts.persistence);
  std::printf("    MIG Mode\n");
  inner("Current", facts.mig_now);
  inner("Pending", facts.mig_later);
  const auto devices = ListMigDevices(nvml, board);
  for (const MigDevice& mig : devices) {
    std::printf("    MIG Device\n");
    inner("Index", std::to_string(mig.index));
    inner("GPU Instance ID", std::to_string(mig.gi));
    inner("Compute Instance ID", std::to_string(mig.ci));
  }
  line("Serial Number", board.serial.empty() ? "N/A" : board.serial);
  line("GPU UUID", board.uuid);
  std::printf("    FB Memory Usage\n");
  inner("Total", facts.total);
  inner("Reserved", facts.reserved);
  inner("Used", facts.used);
  inner("Free", facts.free);
  line("Compute Mode", facts.compute);
}

void Xml(const Nvml& nvml, const Board& board, const Facts& facts) {
  std::printf("\t<gpu id=\"%s\">\n\t\t<product_name>%s</product_name>\n", board.bus_id.c_str(),
              board.name.c_str());
  std::printf("\t\t<persistence_mode>%s</persistence_mode>\n", facts.persistence.c_str());
  std::printf(
      "\t\t<mig_mode>\n\t\t\t<current_mig>%s</current_mig>\n\t\t\t<pending_mig>%s</pending_mig>\n"
      "\t\t</mig_mode>\n",
      facts.mig_now.c_str(), facts.mig_later.c_str());
  const auto devices = ListMigDevices(nvml, board);
  if (devices.empty()) {
    std::printf("\t\t<mig_devices>\n\t\t\tNone\n\t\t</mig_devices>\n");
  } else {
    std::printf("\t\t<mig_devices>\n");
    for (const MigDevice& mig : devices) {
      std::printf(
          "\t\t\t<mig_device>\n\t\t\t\t<index>%u</index>\n"
          "\t\t\t\t<gpu_instance_id>%u</gpu_instance_id>\n"
          "\t\t\t\t<compute_instance_id>%u</compute_instance_id>\n\t\t\t</mig_device>\n",
          mig.index, mig.gi, mig.ci);
    }
    std::printf("\t\t</mig_devices>\n");
  }
  std::printf("\t\t<serial>%s</serial>\n\t\t<uuid>%s</uuid>\n",
              board.serial.empty() ? "N/A" : board.serial.c_str(), board.uuid.c_str());
  std::printf("\t\t<pci>\n\t\t\t<pci_bus_id>%s</pci_bus_id>\n\t\t</pci>\n", board.bus_id.c_str());
  std::printf(
      "\t\t<fb_memory_usage>\n\t\t\t<total>%s</total>\n\t\t\t<reserved>%s</reserved>\n"
      "\t\t\t<used>%s</used>\n\t\t\t<free>%s</free>\n\t\t</fb_memory_usage>\n",
      facts.total.c_str(), facts.reserved.c_str(), facts.used.c_str(), facts.free.c_str());
  std::printf("\t\t<compute_mode>%s</compute_mode>\n\t</gpu>\n", facts.compute.c_str());
}

}  // namespace

int Describe(const Nvml& nvml, const std::vector<Board>& boards, bool xml) {
  const std::string driver = DriverVersion(nvml), cuda = CudaVersion(nvml);
  if (xml) {
    std::printf(
        "<?xml version=\"1.0\" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM \"nvsmi_device_v12.dtd\">\n"
        "<nvidia_smi_log>\n\t<driver_version>%s</driver_version>\n"
        "\t<cuda_version>%s</cuda_version>\n\t<attached_gpus>%zu</attached_gpus>\n",
        driver.c_str(), cuda.c_str(), boards.size());
  } else {
    std::printf("\n==============NVSMI LOG==============\n\n%-38s: %s\n%-38s: %s\n\n%-38s: %zu\n",
                "Driver Version", driver.c_str(), "CUDA Version", cuda.c_str(), "Attached GPUs",
                boards.size());
  }
  for (const Board& board : boards) {
    if (board.code != NVML_SUCCESS) continue;
    const Facts facts = Look(nvml, board);
    if (xml) {
      Xml(nvml, board, facts);
    } else {
      Text(nvml, board, facts);
    }
  }
  if (xml) std::printf("</nvidia_smi_log>\n");
  return 0;
}

}  // namespace tranche::sim::smi
