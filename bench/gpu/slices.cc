#include "slices.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "limiter/policy/compute_table.h"
#include "limiter/policy/memory_ledger.h"
#include "limiter/slice_file.h"

namespace tranche::gpu_check {

using limiter::ComputeOf;
using limiter::MemoryLedger;
using limiter::SliceFile;

bool Slices::Make(const std::string& path, const uint8_t* uuid, Table* made) {
  made->path = path;
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  void* memory = MAP_FAILED;
  if (fd >= 0 && ftruncate(fd, TRANCHE_SLICE_BYTES) == 0)
    memory = mmap(nullptr, TRANCHE_SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd >= 0) close(fd);
  if (memory == MAP_FAILED) return false;
  made->table = static_cast<TrancheSlice*>(memory);
  made->table->version = TRANCHE_SLICE_VERSION;
  made->table->bytes = TRANCHE_SLICE_BYTES;
  made->table->device_count = 1;
  std::memcpy(made->table->devices[0].uuid, uuid, 16);
  MemoryLedger::Store(&made->table->magic, TRANCHE_SLICE_MAGIC);
  return true;
}

Slices::Slices(const std::string& folder, const std::string& uuid, uint64_t context_bytes,
               const std::vector<Shares>& tenants)
    : tenants_(tenants.size()) {
  uint8_t bytes[16] = {};
  for (size_t i = 0; i < 16 && 2 * i + 2 <= uuid.size(); ++i)
    bytes[i] = static_cast<uint8_t>(std::strtoul(uuid.substr(2 * i, 2).c_str(), nullptr, 16));
  char name[64];
  std::snprintf(name, sizeof(name), TRANCHE_TURNS_FILE, uuid.c_str());
  static int count = 0;
  const std::string here = folder + "/slices" + std::to_string(++count);
  if (mkdir(here.c_str(), 0700) != 0) return;
  if (!Make(here + "/" + name, bytes, &turns_)) return;
  for (size_t i = 0; i < tenants.size(); ++i) {
    Table& table = tenants_[i];
    if (!Make(here + "/tenant" + std::to_string(i), bytes, &table)) return;
    TrancheDevice& device = table.table->devices[0];
    device.memory_limit = tenants[i].memory_bytes;
    device.context_bytes = context_bytes;
    if (tenants[i].limit == 0) continue;
    const auto line = static_cast<uint32_t>(i);
    device.turns_line = i + 1;
    if (!SliceFile::SetShares(turns_.path.c_str(), turns_.table, 0, line, tenants[i].request,
                              tenants[i].limit, tenants[i].request, 0))
      return;
  }
  ok_ = true;
}

Slices::~Slices() {
  std::string folder;
  tenants_.push_back(turns_);
  for (const Table& table : tenants_) {
    if (table.table != nullptr) munmap(table.table, TRANCHE_SLICE_BYTES);
    unlink(table.path.c_str());
    folder = table.path.substr(0, table.path.rfind('/'));
  }
  rmdir(folder.c_str());
}

uint64_t Slices::Used(size_t tenant) const {
  return MemoryLedger(tenants_[tenant].table, 0).Used();
}

void Slices::Reap(size_t tenant) {
  SliceFile::Reap(tenants_[tenant].path.c_str(), tenants_[tenant].table);
  SliceFile::Reap(turns_.path.c_str(), turns_.table);
}

uint64_t Slices::Waits() const {
  return MemoryLedger::Load(&ComputeOf(&turns_.table->devices[0])->counters.waits);
}

uint64_t Slices::WaitedNs() const {
  return MemoryLedger::Load(&ComputeOf(&turns_.table->devices[0])->counters.waited_ns);
}

double Slices::HandOverUs() const {
  const limiter::ComputeCounters& counters = ComputeOf(&turns_.table->devices[0])->counters;
  const uint64_t count = MemoryLedger::Load(&counters.handovers);
  if (count == 0) return 0;
  return static_cast<double>(MemoryLedger::Load(&counters.handover_ns)) /
         static_cast<double>(count) / 1000;
}

}  // namespace tranche::gpu_check
