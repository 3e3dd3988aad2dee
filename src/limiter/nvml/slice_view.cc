#include "limiter/nvml/slice_view.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "limiter/libc.h"
#include "limiter/nvml/symbols.h"
#include "limiter/open_table.h"
#include "limiter/policy/memory_ledger.h"

namespace tranche::limiter::nvml {
namespace {

// Of the namespace that a machine starts with; the kernel gives it this number always.
constexpr uint64_t kHostPids = 4026531836;

// Read before the program runs, so that a program that clears its environment stays in its slice.
char g_path[PATH_MAX];
TrancheSlice* g_slice;
// 0 not looked yet, 1 there, 2 cannot be read.
uint32_t g_state;

__attribute__((constructor)) void ReadEnvironment() {
  const char* path = getenv("TRANCHE_SLICE_FILE");
  if (path == nullptr) return;
  const size_t length = strlen(path);
  // A path that does not fit names nothing that can be opened.
  memcpy(g_path, path, length < sizeof(g_path) ? length : sizeof(g_path) - 1);
}

TrancheSlice* Map() {
  const int fd = OpenTable(g_path, false, libc::Now() + kBrokerComesBack);
  if (fd < 0) return nullptr;
  TrancheSlice* slice = nullptr;
  uint64_t bytes = 0;
  if (libc::FileSize(fd, &bytes) && bytes == TRANCHE_SLICE_BYTES) {
    void* memory = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED) {
      slice = static_cast<TrancheSlice*>(memory);
      if (slice->magic != TRANCHE_SLICE_MAGIC || slice->version != TRANCHE_SLICE_VERSION ||
          slice->bytes != TRANCHE_SLICE_BYTES || slice->device_count > TRANCHE_SLICE_DEVICES) {
        munmap(memory, bytes);
        slice = nullptr;
      }
    }
  }
  close(fd);
  return slice;
}

// nullptr when it cannot be read. Looked for once; two threads at once map it twice, and one of
// the two is let go.
TrancheSlice* Slice() {
  if (__atomic_load_n(&g_state, __ATOMIC_ACQUIRE) == 0) {
    const int before = errno;
    TrancheSlice* slice = Map();
    TrancheSlice* none = nullptr;
    if (slice != nullptr && !__atomic_compare_exchange_n(&g_slice, &none, slice, false,
                                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
      munmap(slice, TRANCHE_SLICE_BYTES);
    uint32_t unknown = 0;
    __atomic_compare_exchange_n(&g_state, &unknown, slice != nullptr ? 1u : 2u, false,
                                __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    errno = before;
  }
  return __atomic_load_n(&g_slice, __ATOMIC_ACQUIRE);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// "GPU-" or "MIG-" and 32 hexadecimal digits, with dashes between them.
bool ParseUuid(const char* text, uint8_t (&uuid)[16]) {
  if (strncmp(text, "GPU-", 4) != 0 && strncmp(text, "MIG-", 4) != 0) return false;
  uint32_t digits = 0;
  for (text += 4; *text != 0; ++text) {
    if (*text == '-') continue;
    const int digit = HexDigit(*text);
    if (digit < 0 || digits == 32) return false;
    uint8_t& byte = uuid[digits / 2];
    byte = static_cast<uint8_t>(digits % 2 == 0 ? digit << 4 : byte | digit);
    ++digits;
  }
  return digits == 32;
}

// "pid:[4026531836]"; 0 when unknown.
uint64_t PidNamespace() {
  char text[64];
  const int before = errno;
  const ssize_t n = readlink("/proc/self/ns/pid", text, sizeof(text) - 1);
  errno = before;
  if (n <= 0) return 0;
  text[n] = 0;
  const char* number = strchr(text, '[');
  return number == nullptr ? 0 : strtoull(number + 1, nullptr, 10);
}

uint32_t SlotsOf(const TrancheSlice* slice) {
  const uint64_t used = MemoryLedger::Load(&slice->slots_used);
  return used > TRANCHE_SLICE_SLOTS ? TRANCHE_SLICE_SLOTS : static_cast<uint32_t>(used);
}

// A pid means something only among those who count alike.
uint32_t PidIn(const TrancheSlot& slot, uint64_t pid_namespace) {
  const uint64_t pid = MemoryLedger::Load(&slot.pid);
  if (pid > INT32_MAX || MemoryLedger::Load(&slot.pid_namespace) != pid_namespace) return 0;
  return static_cast<uint32_t>(pid);
}

}  // namespace

TenantDevice TenantDevice::Of(nvmlDevice_t device) {
  if (g_path[0] == 0) return {kForeign, 0};
  const TrancheSlice* slice = Slice();
  if (slice == nullptr) return {kUnknown, 0};
  char text[NVML_DEVICE_UUID_V2_BUFFER_SIZE];
  uint8_t uuid[16];
  if (NVML_REAL(nvmlDeviceGetUUID)(device, text, sizeof(text)) != NVML_SUCCESS ||
      !ParseUuid(text, uuid))
    return {kForeign, 0};
  for (uint32_t i = 0; i < slice->device_count && i < TRANCHE_SLICE_DEVICES; ++i) {
    if (memcmp(slice->devices[i].uuid, uuid, sizeof(uuid)) == 0) return {kOurs, i};
  }
  return {kForeign, 0};
}

uint64_t TenantDevice::limit() const { return MemoryLedger(g_slice, index_).limit(); }
uint64_t TenantDevice::used() const { return MemoryLedger(g_slice, index_).Used(); }

uint32_t TenantDevice::Tenants(Tenant (&tenants)[kMostTenants]) const {
  const uint64_t pid_namespace = PidNamespace();
  uint32_t count = 0;
  for (uint32_t slot = 0; slot < SlotsOf(g_slice); ++slot) {
    const uint64_t held = MemoryLedger(g_slice, index_).HeldBy(slot);
    const uint32_t pid = held == 0 ? 0 : PidIn(g_slice->slots[slot], pid_namespace);
    if (pid == 0) continue;
    // A process that loaded the driver into several link namespaces has a slot for each.
    uint32_t at = 0;
    while (at < count && tenants[at].pid != pid) ++at;
    if (at == count) tenants[count++] = {pid, 0};
    tenants[at].held += held;
  }
  return count;
}

bool TenantDevice::Has(uint32_t pid) const {
  const uint64_t pid_namespace = PidNamespace();
  for (uint32_t slot = 0; pid != 0 && slot < SlotsOf(g_slice); ++slot) {
    if (PidIn(g_slice->slots[slot], pid_namespace) == pid) return true;
  }
  return false;
}

bool TenantDevice::SeesHostPids() { return PidNamespace() == kHostPids; }

}  // namespace tranche::limiter::nvml
