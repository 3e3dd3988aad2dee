#include "exported_symbols.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

namespace tranche::gpu_check {
namespace {

// A struct at `offset` of the file; false when it does not lie in it.
template <typename T>
bool ReadAt(const std::string& file, uint64_t offset, T* out) {
  if (offset > file.size() || file.size() - offset < sizeof(T)) return false;
  std::memcpy(out, file.data() + offset, sizeof(T));
  return true;
}

}  // namespace

std::vector<std::string> ExportedSymbols(const std::string& path) {
  std::vector<std::string> names;
  std::ifstream in(path, std::ios::binary);
  const std::string file{std::istreambuf_iterator<char>(in), {}};
  Elf64_Ehdr header;
  if (!ReadAt(file, 0, &header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64) {
    return names;
  }
  for (int i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr symbols, strings;
    const auto section = [&](uint64_t n) { return header.e_shoff + n * sizeof(Elf64_Shdr); };
    if (!ReadAt(file, section(static_cast<uint64_t>(i)), &symbols)) break;
    if (symbols.sh_type != SHT_DYNSYM || !ReadAt(file, section(symbols.sh_link), &strings))
      continue;
    if (strings.sh_offset > file.size() || strings.sh_size > file.size() - strings.sh_offset) break;
    const std::string_view text(file.data() + strings.sh_offset, strings.sh_size);
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= symbols.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      if (!ReadAt(file, symbols.sh_offset + at, &symbol)) break;
      const bool function =
          ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_shndx != SHN_UNDEF;
      if (!function || symbol.st_name >= text.size()) continue;
      const std::string_view rest = text.substr(symbol.st_name);
      names.emplace_back(rest.substr(0, rest.find('\0')));
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace tranche::gpu_check
