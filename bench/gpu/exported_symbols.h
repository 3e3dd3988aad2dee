#pragma once

#include <string>
#include <vector>

namespace tranche::gpu_check {

// The functions that a shared library exports, sorted, as `nm -D --defined-only` lists them. Empty
// when the file cannot be read or is no 64-bit ELF library.
std::vector<std::string> ExportedSymbols(const std::string& path);

}  // namespace tranche::gpu_check
