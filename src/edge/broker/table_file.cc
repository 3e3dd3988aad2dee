#include "edge/broker/table_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "limiter/policy/compute_table.h"
#include "limiter/policy/memory_ledger.h"

namespace tranche {

using limiter::MemoryLedger;

tl::unexpected<Error> CannotDo(const std::string& what) {
  const int why = errno;
  return Fail(why == EACCES || why == EPERM ? ErrorCode::kPermission : ErrorCode::kFailed,
              "cannot " + what + ": " + std::strerror(why));
}

Result<TrancheSlice*> MakeTable(std::string* path, uint32_t uid) {
  const std::string folder = std::filesystem::path(*path).parent_path();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return Fail(ErrorCode::kFailed, "cannot make " + folder + ": " + error.message());
  const int fd = path->ends_with("XXXXXX")
                     ? mkostemp(path->data(), O_CLOEXEC)
                     : open(path->c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return CannotDo("make a file in " + folder);
  void* memory = MAP_FAILED;
  const bool owned = uid == geteuid() || fchown(fd, uid, static_cast<gid_t>(-1)) == 0;
  if (owned && fchmod(fd, 0600) == 0 && ftruncate(fd, TRANCHE_SLICE_BYTES) == 0)
    memory = mmap(nullptr, TRANCHE_SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) {
    auto failed = CannotDo("make " + *path);
    close(fd);
    unlink(path->c_str());
    return failed;
  }
  close(fd);
  auto* table = static_cast<TrancheSlice*>(memory);
  table->version = TRANCHE_SLICE_VERSION;
  table->bytes = TRANCHE_SLICE_BYTES;
  return table;
}

std::string FileOfGpu(const std::string& folder, const char* pattern,
                      const std::array<uint8_t, 16>& uuid) {
  char digits[33] = {};
  for (size_t i = 0; i < uuid.size(); ++i) std::snprintf(digits + 2 * i, 3, "%02x", uuid[i]);
  char name[64];
  std::snprintf(name, sizeof(name), pattern, digits);
  return folder + "/" + name;
}

void ValidateTable(TrancheSlice* table) { MemoryLedger::Store(&table->magic, TRANCHE_SLICE_MAGIC); }

Result<TrancheSlice*> MapTable(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return CannotDo("open " + path);
  struct stat file {};
  void* memory = MAP_FAILED;
  if (fstat(fd, &file) == 0 && file.st_size == static_cast<off_t>(TRANCHE_SLICE_BYTES))
    memory = mmap(nullptr, TRANCHE_SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED)
    return Fail(ErrorCode::kInvalid, path + " is not a table of this version");
  auto* table = static_cast<TrancheSlice*>(memory);
  if (MemoryLedger::Load(&table->magic) == TRANCHE_SLICE_MAGIC &&
      table->version == TRANCHE_SLICE_VERSION && table->bytes == TRANCHE_SLICE_BYTES &&
      (table->compute_version == 0 || table->compute_version == limiter::kComputeVersion))
    return table;
  UnmapTable(table);
  return Fail(ErrorCode::kInvalid, path + " is not a table of this version");
}

void UnmapTable(TrancheSlice* table) { munmap(table, TRANCHE_SLICE_BYTES); }

}  // namespace tranche
