#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stage/export/export.h"

namespace tranche::exporting {

// One replica of a plan, in the terms that the formats share.
struct Replica {
  const Assignment* assignment = nullptr;
  const Workload* workload = nullptr;
  const Gpu* gpu = nullptr;  // nullptr when the machine is not at hand
  std::string name;          // "phi-0"
  std::string variable;      // "PHI_0": what holds the UUID of a slice that is only made later
  // UUIDs, separated by commas; "" when the slice does not exist yet.
  std::string device;
  int port = 0;                         // 0 = none
  std::vector<std::string> program;     // run as it is; empty when it runs in a container only
  std::string image;                    // "" when nothing says which
  std::vector<std::string> entrypoint;  // replaces the image's own; empty = does not
  std::vector<std::string> arguments;   // of the image
  std::map<std::string, std::string> env;
  // SMs of its own in a static partition of its MPS server, at least so many; 0 = it has none. Such
  // a server takes nobody without one.
  int partition_sms = 0;

  // What holds CUDA_MPS_SM_PARTITION: the driver names a partition when it makes it.
  std::string partition_variable() const { return variable + "_SMS"; }
  Mechanism mechanism() const { return assignment->slice.mechanism; }
  // In a MIG instance, its own or, by MPS, one that several share; `device` is that instance's.
  bool in_instance() const { return assignment->slice.placement.has_value(); }
  bool shared() const;  // with other programs on an undivided GPU
};

// As `${PORT}` is filled in, and `--gpu-memory-utilization` set where vLLM serves. With
// `own_addresses` each replica has a network address to itself, so all of a workload listen on one
// port.
std::vector<Replica> ReplicasOf(const ExportInput& input, bool own_addresses,
                                std::vector<std::string>* notes);

bool IsVllm(const Replica& replica);
bool IsTriton(const Replica& replica);

// Of the whole GPU's memory, in hundredths, what vLLM may take of it: nine tenths of the slice,
// which leaves room for what it does not count; in a slice that it sees as a GPU, nine tenths of
// it. So the shares on one GPU never sum to more than 0.90.
int UtilizationPercent(const Replica& replica, Bytes gpu_memory);
Bytes GpuMemory(const Replica& replica, const Catalog& catalog);

// GPUs that carry a mechanism, each with its replicas, by index. Under kMps one for each server:
// that of the GPU itself, or those of its instances that are shared.
struct GpuUse {
  std::string uuid;
  int index = 0;
  const Gpu* gpu = nullptr;
  std::vector<const Replica*> replicas;
  std::optional<MigPlacement> instance = {};  // of a server within one
};
std::vector<GpuUse> GpusWith(Mechanism mechanism, const std::vector<Replica>& replicas);

// What is set for a server before its first client comes: the most that any of them has, since each
// may only lower it for itself.
struct MpsMost {
  Bytes memory;
  int thread_percentage = 1;
};
MpsMost MostOfClients(const GpuUse& use);
// Whether the server's SMs are divided for good.
bool IsPartitioned(const GpuUse& use);

// One word of a POSIX shell.
std::string ShellWord(const std::string& text);
std::string XmlText(const std::string& text);

// The lines that open each generated file, as comments.
std::string Header(const ExportInput& input, const std::string& comment);
// Each note as a comment of the file.
std::string Comments(const std::vector<std::string>& notes, const std::string& comment);

// Where the exported files keep the pipes of an MPS daemon, of a GPU or an instance of it.
std::string MpsPipes(int gpu_index, std::optional<MigPlacement> instance = {});
std::string MpsLogs(int gpu_index, std::optional<MigPlacement> instance = {});
// Of the SMs of its server's device, what a client may have at most. Absent: not known without the
// machine.
std::optional<int> MpsPercentage(const Replica& replica);

}  // namespace tranche::exporting
