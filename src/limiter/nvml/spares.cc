#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "limiter/nvml/symbols.h"
#include "limiter/real_library.h"

// A program finds NVML's functions by dlsym in the library that it opened, and there is no other
// way to ask for one, as cuGetProcAddress is one for CUDA's; whether a name is there tells it how
// old the driver is. So when this library is loaded it makes its exports those of the driver's
// library, in its own copy of its own symbol table: what only the driver has, being newer than our
// list, gets one of the doors that are kept in reserve for it, under its name; what only we have is
// hidden. Nothing outside this library is touched. Where it cannot be done, new functions are
// missing, as they are with any older driver, and old ones answer that they are.
//
// It is linked with a System V hash table (DT_HASH), which is made of linked lists, so that a name
// can be moved from one to another by writing single words, each of which leaves the table valid.

#if defined(__x86_64__)
__asm__(".symver dlinfo,dlinfo@GLIBC_2.3.3");
#endif

extern "C" {
extern const char __ehdr_start __attribute__((visibility("hidden")));
extern TRANCHE_NVML_HIDDEN void* tranche_nvml_spare_table[];
TRANCHE_NVML_HIDDEN nvmlReturn_t tranche_nvml_spare_missing();
}

nvmlReturn_t tranche_nvml_spare_missing() { return NVML_ERROR_FUNCTION_NOT_FOUND; }

namespace tranche::limiter::nvml {
namespace {

constexpr char kSpare[] = "tranche_nvml_spare_";

struct Tables {
  const ElfW(Sym) * symbols = nullptr;
  const char* strings = nullptr;
  uint64_t string_bytes = 0;
  uint32_t* hash = nullptr;  // DT_HASH
  const uint32_t* gnu_hash = nullptr;
  const uint16_t* versions = nullptr;

  Tables() = default;
  Tables(const ElfW(Dyn) * dynamic, uintptr_t base) {
    for (; dynamic->d_tag != DT_NULL; ++dynamic) {
      // Some loaders leave these as they are in the file.
      uintptr_t at = dynamic->d_un.d_ptr;
      if (at < base) at += base;
      if (dynamic->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const ElfW(Sym)*>(at);
      if (dynamic->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(at);
      if (dynamic->d_tag == DT_HASH) hash = reinterpret_cast<uint32_t*>(at);
      if (dynamic->d_tag == DT_GNU_HASH) gnu_hash = reinterpret_cast<const uint32_t*>(at);
      if (dynamic->d_tag == DT_VERSYM) versions = reinterpret_cast<const uint16_t*>(at);
      if (dynamic->d_tag == DT_STRSZ) string_bytes = dynamic->d_un.d_val;
    }
  }
  // How many symbols; the tables do not say it themselves, the hash tables over them do.
  uint32_t Count() const {
    if (hash != nullptr) return hash[1];
    if (gnu_hash == nullptr) return 0;
    const uint32_t buckets = gnu_hash[0], first = gnu_hash[1], words = gnu_hash[2];
    const uint32_t* bucket = gnu_hash + 4 + words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t* chain = bucket + buckets;
    uint32_t last = 0;
    for (uint32_t i = 0; i < buckets; ++i) last = bucket[i] > last ? bucket[i] : last;
    if (last < first) return first;
    while ((chain[last - first] & 1) == 0) ++last;
    return last + 1;
  }
};

uint32_t HashOf(const char* name) {
  uint32_t hash = 0;
  for (; *name != 0; ++name) {
    hash = (hash << 4) + static_cast<unsigned char>(*name);
    const uint32_t high = hash & 0xf0000000u;
    hash = (hash ^ (high >> 24)) & ~high;
  }
  return hash;
}

// Our own tables, changed in place.
class Exports {
 public:
  explicit Exports(const Tables& tables)
      : tables_(tables), buckets_(tables.hash + 2), chain_(buckets_ + tables.hash[0]) {}

  // Nobody finds the symbol `index` any more.
  void Hide(uint32_t index) {
    uint32_t* link = &buckets_[HashOf(NameOf(index)) % tables_.hash[0]];
    while (*link != 0 && *link != index) link = &chain_[*link];
    if (*link == index) __atomic_store_n(link, chain_[index], __ATOMIC_RELEASE);
  }
  // Gives the spare that is symbol `index` another name.
  void Rename(uint32_t index, const char* name) {
    Hide(index);
    strcpy(const_cast<char*>(NameOf(index)), name);
    uint32_t* bucket = &buckets_[HashOf(name) % tables_.hash[0]];
    __atomic_store_n(&chain_[index], *bucket, __ATOMIC_RELEASE);
    __atomic_store_n(bucket, index, __ATOMIC_RELEASE);
  }

  // The next spare from `index` on; the number of symbols when there is none.
  uint32_t NextSpare(uint32_t index) const {
    const uint32_t count = tables_.Count();
    while (index < count && !IsSpare(index)) ++index;
    return index;
  }
  bool IsSpare(uint32_t index) const { return strncmp(NameOf(index), kSpare, strlen(kSpare)) == 0; }
  const char* NameOf(uint32_t index) const {
    return tables_.strings + tables_.symbols[index].st_name;
  }
  size_t RoomFor(uint32_t index) const { return strlen(NameOf(index)); }

 private:
  const Tables& tables_;
  uint32_t* buckets_;
  uint32_t* chain_;
};

// Makes the pages of [from, from + bytes) what `how` says.
bool Protect(const void* from, size_t bytes, int how) {
  const auto page = static_cast<uintptr_t>(getpagesize());
  const uintptr_t begin = reinterpret_cast<uintptr_t>(from) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(from) + bytes;
  return mprotect(reinterpret_cast<void*>(begin), end - begin, how) == 0;
}

// Of the symbol `index`, if it is an exported function of NVML; nullptr otherwise.
const char* FunctionName(const Tables& tables, uint32_t index) {
  const ElfW(Sym)& symbol = tables.symbols[index];
  const char* name = tables.strings + symbol.st_name;
  // Bit 15 of a version: not for those who link today.
  const bool exported = symbol.st_shndx != SHN_UNDEF && ELF64_ST_TYPE(symbol.st_info) == STT_FUNC &&
                        ELF64_ST_BIND(symbol.st_info) != STB_LOCAL &&
                        (tables.versions == nullptr || (tables.versions[index] & 0x8000u) == 0);
  return exported && strncmp(name, "nvml", 4) == 0 ? name : nullptr;
}

// In "tranche_nvml_spare_1234_of...", from 0.
uint32_t NumberOfSpare(const char* spare) {
  uint32_t number = 0;
  for (const char* at = spare + strlen(kSpare); *at >= '0' && *at <= '9'; ++at)
    number = number * 10 + static_cast<uint32_t>(*at - '0');
  return number - 1000;
}

// Which of our functions the driver has, and whether it has others.
struct Comparison {
  bool has[kSymbols] = {};
  uint32_t common = 0;
  uint32_t others = 0;

  explicit Comparison(const Tables& real) {
    const uint32_t count = real.Count();
    for (uint32_t i = 1; i < count; ++i) {
      const char* name = FunctionName(real, i);
      const uint32_t number = name == nullptr ? kSymbols : NumberOf(name);
      if (number != kSymbols) {
        common += has[number] ? 0 : 1;
        has[number] = true;
      } else if (name != nullptr) {
        ++others;
      }
    }
  }
};

void NameSpares(const Tables& real, uintptr_t real_base, const Tables& own) {
  Exports exports(own);
  uint32_t spare = exports.NextSpare(0);
  const uint32_t count = real.Count();
  for (uint32_t i = 1; i < count && spare < own.Count(); ++i) {
    const char* name = FunctionName(real, i);
    if (name == nullptr || NumberOf(name) != kSymbols || strlen(name) > exports.RoomFor(spare))
      continue;
    tranche_nvml_spare_table[NumberOfSpare(exports.NameOf(spare))] =
        reinterpret_cast<void*>(real_base + real.symbols[i].st_value);
    exports.Rename(spare, name);
    spare = exports.NextSpare(spare + 1);
  }
}

void HideMissing(const Comparison& real, const Tables& own) {
  Exports exports(own);
  const uint32_t count = own.Count();
  for (uint32_t i = 1; i < count; ++i) {
    const char* name = FunctionName(own, i);
    const uint32_t number = name == nullptr ? kSymbols : NumberOf(name);
    if (number != kSymbols && !real.has[number]) exports.Hide(i);
  }
}

__attribute__((constructor)) void BecomeLikeTheDriver() {
  const int before = errno;
  link_map* map = nullptr;
  void* library = real_library::NvidiaMl();
  if (library != nullptr && dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr) {
    const Tables real(map->l_ld, map->l_addr);
    const Tables own(_DYNAMIC, reinterpret_cast<uintptr_t>(&__ehdr_start));
    const bool readable = real.symbols != nullptr && real.strings != nullptr &&
                          own.symbols != nullptr && own.strings != nullptr && own.hash != nullptr;
    const Comparison compared(readable ? real : Tables());
    // With a driver of our age nothing is touched; of one that shares no name with us we understand
    // nothing.
    const bool differs = compared.others > 0 || compared.common < kSymbols;
    if (readable && differs && compared.common > 0) {
      const size_t hash_bytes = (2 + own.hash[0] + own.hash[1]) * sizeof(uint32_t);
      const bool hash = Protect(own.hash, hash_bytes, PROT_READ | PROT_WRITE);
      const bool names = Protect(own.strings, own.string_bytes, PROT_READ | PROT_WRITE);
      if (hash && names) {
        HideMissing(compared, own);
        NameSpares(real, map->l_addr, own);
      }
      Protect(own.hash, hash_bytes, PROT_READ);
      Protect(own.strings, own.string_bytes, PROT_READ);
    }
  }
  errno = before;
}

}  // namespace
}  // namespace tranche::limiter::nvml
