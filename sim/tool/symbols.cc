#include "sim/tool/symbols.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace tranche::sim {
namespace {

// A table of the file, or nullptr when it would reach past the end.
template <typename T>
T* At(std::vector<char>* file, uint64_t offset, uint64_t count) {
  if (offset > file->size() || count > (file->size() - offset) / sizeof(T)) return nullptr;
  return reinterpret_cast<T*>(file->data() + offset);
}

// Takes the definition away: glibc and musl pass over a symbol that has neither a section nor a
// value. The hash tables stay as they are, since lookups compare the name only after the hash led
// there.
int Strike(std::vector<char>* file, const std::vector<std::string>& symbols) {
  auto* header = At<Elf64_Ehdr>(file, 0, 1);
  if (header == nullptr || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64) {
    return -1;
  }
  auto* sections = At<Elf64_Shdr>(file, header->e_shoff, header->e_shnum);
  if (sections == nullptr) return -1;
  int struck = 0;
  for (int i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type != SHT_DYNSYM || sections[i].sh_link >= header->e_shnum) continue;
    const Elf64_Shdr& names = sections[sections[i].sh_link];
    uint64_t count = sections[i].sh_size / sizeof(Elf64_Sym);
    auto* table = At<Elf64_Sym>(file, sections[i].sh_offset, count);
    auto* text = At<char>(file, names.sh_offset, names.sh_size);
    if (table == nullptr || text == nullptr) return -1;
    for (uint64_t k = 0; k < count; ++k) {
      if (table[k].st_name >= names.sh_size || table[k].st_shndx == SHN_UNDEF) continue;
      size_t room = names.sh_size - table[k].st_name;
      std::string name(text + table[k].st_name, strnlen(text + table[k].st_name, room));
      if (std::find(symbols.begin(), symbols.end(), name) == symbols.end()) continue;
      table[k].st_shndx = SHN_UNDEF;
      table[k].st_value = 0;
      ++struck;
    }
  }
  return struck;
}

}  // namespace

Result<int> CopyWithoutSymbols(const std::string& from, const std::string& to,
                               const std::vector<std::string>& symbols) {
  std::ifstream in(from, std::ios::binary | std::ios::ate);
  std::vector<char> file(in.is_open() ? static_cast<size_t>(in.tellg()) : 0);
  in.seekg(0);
  in.read(file.data(), static_cast<std::streamsize>(file.size()));
  if (!in || file.empty()) return Fail(ErrorCode::kFailed, "cannot read " + from);
  int struck = Strike(&file, symbols);
  if (struck < 0) return Fail(ErrorCode::kFailed, from + " is no 64-bit shared library");
  std::string temporary = to + "." + std::to_string(getpid());
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  out.write(file.data(), static_cast<std::streamsize>(file.size()));
  out.close();
  if (!out || chmod(temporary.c_str(), 0755) != 0 ||
      std::rename(temporary.c_str(), to.c_str()) != 0) {
    std::string why = std::strerror(errno);
    unlink(temporary.c_str());
    return Fail(ErrorCode::kFailed, "cannot write " + to + ": " + why);
  }
  return struck;
}

}  // namespace tranche::sim
