#pragma once

#include <string>
#include <type_traits>
#include <vector>

#include "abi/nvml.h"

// libnvidia-ml.so.1 as nvidia-smi has it: opened at run time, each function looked up as it is
// needed, so that an old driver's library, or a tenant's view of it, is answered for and not
// crashed on.
namespace tranche::sim::smi {

class Nvml {
 public:
  // nvmlInit_v2 has been called when `code()` says NVML_SUCCESS.
  Nvml();
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  nvmlReturn_t code() const { return code_; }

  // NVML_ERROR_FUNCTION_NOT_FOUND where the library has no such function.
  template <typename Function, typename... Arguments>
  nvmlReturn_t Call(const char* name, Arguments... arguments) const {
    auto* function = reinterpret_cast<Function*>(Find(name));
    return function == nullptr ? static_cast<nvmlReturn_t>(NVML_ERROR_FUNCTION_NOT_FOUND)
                               : function(arguments...);
  }
  std::string ErrorText(nvmlReturn_t code) const;

 private:
  void* Find(const char* name) const;

  void* library_ = nullptr;
  nvmlReturn_t code_ = NVML_ERROR_LIBRARY_NOT_FOUND;
};

// CALL(nvml, nvmlDeviceGetName, device, text, size)
#define CALL(nvml, function, ...) (nvml).Call<decltype(function)>(#function, __VA_ARGS__)

// One GPU of the machine.
struct Board {
  unsigned index = 0;
  nvmlDevice_t device{};
  // Why there is no handle, where it is not NVML_SUCCESS.
  nvmlReturn_t code = NVML_SUCCESS;
  std::string name, uuid, serial, bus_id;
};

struct MigDevice {
  nvmlDevice_t device{};
  unsigned index = 0, gi = 0, ci = 0;
  std::string profile;  // "1c.2g.20gb"
  std::string uuid;
};

std::vector<Board> ListBoards(const Nvml& nvml);
std::vector<MigDevice> ListMigDevices(const Nvml& nvml, const Board& board);

// Those that `ids` names (indices, UUIDs, serial numbers, PCI bus ids, with commas between), or all
// for an empty text. Empty when one of them is not there.
std::vector<Board> Select(const std::vector<Board>& boards, const std::string& ids);

std::string DriverVersion(const Nvml& nvml);
std::string CudaVersion(const Nvml& nvml);  // "13.0"

// nvidia-smi ends with NVML's own codes; those that it has no number for are 255.
int ExitCode(nvmlReturn_t code);

std::vector<std::string> Split(const std::string& text, char separator);
// As printf does it.
std::string Format(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace tranche::sim::smi
