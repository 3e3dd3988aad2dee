#pragma once

#include <array>
#include <cmath>
#include <string>

#include "abi/slice_table.h"
#include "base/result.h"
#include "base/units.h"
#include "edge/broker/table_host.h"

// What tables of slices and of GPUs have in common.
namespace tranche {

// An empty table at `path`, which ends with XXXXXX when a name is to be chosen; for processes of
// `uid`. Not yet valid: its magic is set by ValidateTable().
Result<TrancheSlice*> MakeTable(TableHost& host, std::string* path, uint32_t uid);
void ValidateTable(TrancheSlice* table);
// A table that was made so. kInvalid when it is none, or one of another version.
Result<TrancheSlice*> MapTable(TableHost& host, const std::string& path, uint32_t uid);
void UnmapTable(TrancheSlice* table);

// The file of a GPU in `folder`; `pattern` has one %s for the digits of its UUID.
std::string FileOfGpu(const std::string& folder, const char* pattern,
                      const std::array<uint8_t, 16>& uuid);

inline uint32_t MillionthsOf(Fraction share) {
  return static_cast<uint32_t>(std::lround(share.value * 1e6));
}

}  // namespace tranche
