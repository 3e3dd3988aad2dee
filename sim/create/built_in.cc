#include <map>

#include "sim/create/machine_file.h"

#define MACHINE(symbol)                         \
  extern "C" const char tranche_sim_##symbol[]; \
  extern "C" const char tranche_sim_##symbol##_end[];
#include "built_in_machines.inc"
#undef MACHINE

namespace tranche::sim {
namespace {

std::map<std::string, std::string_view> Machines() {
  std::map<std::string, std::string_view> all;
  auto add = [&](std::string symbol, const char* begin, const char* end) {
    // "h100_sxm_yaml" was made from h100-sxm.yaml.
    symbol.resize(symbol.size() - 5);
    for (char& c : symbol) c = c == '_' ? '-' : c;
    all[symbol] = {begin, static_cast<size_t>(end - begin)};
  };
#define MACHINE(symbol) add(#symbol, tranche_sim_##symbol, tranche_sim_##symbol##_end);
#include "built_in_machines.inc"
#undef MACHINE
  return all;
}

}  // namespace

std::vector<std::string> BuiltInMachines() {
  std::vector<std::string> names;
  for (const auto& [name, text] : Machines()) names.push_back(name);
  return names;
}

std::string_view BuiltInMachine(const std::string& name) {
  auto all = Machines();
  auto found = all.find(name);
  return found == all.end() ? std::string_view() : found->second;
}

}  // namespace tranche::sim
