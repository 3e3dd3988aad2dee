#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "stage/import/import.h"

namespace tranche {

// What one entry of a mig-parted configuration wants of one GPU.
struct MigPartedWant {
  int gpu_index = 0;
  bool mig_enabled = false;
  std::map<std::string, int> devices;  // how many of each profile
};

// Entry by entry and GPU by GPU, as mig-parted goes about it: a GPU that several entries match has
// to be as each of them says, and one that none matches may be as it likes. `config` may be ""
// where the file has one configuration only.
tl::expected<std::vector<MigPartedWant>, std::vector<ImportMistake>> ReadMigPartedWants(
    std::string_view text, const std::string& config, const Machine& machine,
    const Catalog& catalog);

}  // namespace tranche
