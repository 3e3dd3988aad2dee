#include "face/cli/gpu_name.h"

#include <fmt/format.h>

namespace tranche {

Result<const Gpu*> FindGpuByName(const Machine& machine, const std::string& name) {
  const std::string number = name.rfind("gpu", 0) == 0 ? name.substr(3) : name;
  const bool is_index = !number.empty() && number.size() < 6 &&
                        number.find_first_not_of("0123456789") == std::string::npos;
  const Gpu* found = nullptr;
  for (const Gpu& gpu : machine.gpus) {
    const bool it = is_index ? gpu.index == std::stoi(number)
                             : name.size() >= 8 && gpu.uuid.compare(0, name.size(), name) == 0;
    if (!it) continue;
    if (found != nullptr) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("the UUIDs of gpu{} and gpu{} both begin with {}", found->index,
                              gpu.index, name),
                  "write more of it");
    }
    found = &gpu;
  }
  if (found != nullptr) return found;
  std::string known;
  for (const Gpu& gpu : machine.gpus) {
    known += fmt::format("{}{} ({})", known.empty() ? "" : ", ", gpu.index, gpu.uuid);
  }
  return Fail(ErrorCode::kNotFound, fmt::format("there is no GPU '{}' here", name),
              known.empty() ? "this machine has none" : "there are " + known);
}

}  // namespace tranche
