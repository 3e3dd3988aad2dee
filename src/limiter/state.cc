#include "limiter/state.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "limiter/libc.h"
#include "limiter/mps_client.h"
#include "limiter/policy/compute_table.h"
#include "limiter/policy/memory_ledger.h"
#include "limiter/slice_file.h"
#include "limiter/symbols.h"

namespace tranche::limiter {

State* g_state;

namespace {

// Read before the program runs, so that a program that clears its environment stays in its slice.
char g_slice_path[PATH_MAX];

// Patience with other processes that ask at the same time, each of which needs only nanoseconds.
constexpr uint32_t kAttempts = 100000;

__attribute__((constructor)) void ReadEnvironment() {
  const char* path = getenv("TRANCHE_SLICE_FILE");
  if (path == nullptr) return;
  const size_t length = strlen(path);
  // A path that does not fit names nothing that can be opened, which is noticed when joining.
  memcpy(g_slice_path, path, length < sizeof(g_slice_path) ? length : sizeof(g_slice_path) - 1);
}

State* Make() {
  const int before = errno;
  void* memory =
      mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    errno = before;
    return nullptr;
  }
  madvise(memory, sizeof(State), MADV_WIPEONFORK);
  State* state = nullptr;
  if (!__atomic_compare_exchange_n(&g_state, &state, static_cast<State*>(memory), false,
                                   __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    munmap(memory, sizeof(State));
  } else {
    state = static_cast<State*>(memory);
  }
  errno = before;
  return state;
}

// Which words tell every launch whether it is to be measured.
void ShowMetering(State& state, State::Attached result) {
  static constexpr uint32_t kNo = 0, kLook = 1;
  static constexpr uint64_t kNoLine = 0;
  const uint64_t* line = &kNoLine;
  state.metered_word = result == State::kInSlice ? &kLook : &kNo;
  if (result == State::kInSlice && state.slice->device_count == 1) {
    TrancheDevice& device = state.slice->devices[0];
    state.metered_word = &ComputeOf(&device)->metered;
    line = &device.turns_line;
  }
  __atomic_store_n(&state.line_word, line, __ATOMIC_RELEASE);
}

void Attach(State& state) {
  const Guard guard(state.attach_lock);
  if (__atomic_load_n(&state.attached, __ATOMIC_ACQUIRE) != State::kNotYet) return;
  State::Attached result = State::kNoSlice;
  if (g_slice_path[0] != 0) {
    state.slice = SliceFile::Join(g_slice_path, &state.slot);
    result = state.slice != nullptr ? State::kInSlice : State::kRefused;
  }
  ShowMetering(state, result);
  __atomic_store_n(&state.attached, static_cast<uint32_t>(result), __ATOMIC_RELEASE);
}

// The index in the slice's table of the GPU that CUDA numbers so; -1 when the slice has no part of
// it, -2 when there is no such GPU.
int32_t DeviceOf(State& state, CUdevice ordinal) {
  if (ordinal < 0 || ordinal >= static_cast<int>(kMaxOrdinals) || state.slice == nullptr) return -2;
  uint32_t known = __atomic_load_n(&state.device_of[ordinal], __ATOMIC_ACQUIRE);
  if (known == 0) {
    CUuuid uuid;
    CUresult answer = REAL(cuDeviceGetUuid_v2)(&uuid, ordinal);
    if (answer == CUDA_ERROR_NOT_FOUND) answer = REAL(cuDeviceGetUuid)(&uuid, ordinal);
    if (answer != CUDA_SUCCESS) return -2;
    known = State::kForeign;
    for (uint32_t i = 0; i < state.slice->device_count && i < TRANCHE_SLICE_DEVICES; ++i) {
      if (memcmp(state.slice->devices[i].uuid, &uuid, sizeof(uuid)) == 0) known = i + 1;
    }
    __atomic_store_n(&state.device_of[ordinal], known, __ATOMIC_RELEASE);
  }
  return known == State::kForeign ? -1 : static_cast<int32_t>(known) - 1;
}

// Where there is not even memory for a State: nothing is granted if limits were asked for.
State& Nothing() {
  alignas(State) static char memory[sizeof(State)];
  auto* state = reinterpret_cast<State*>(memory);
  state->attached = g_slice_path[0] == 0 ? State::kNoSlice : State::kRefused;
  return *state;
}

}  // namespace

State& JoinedState() {
  State* state = __atomic_load_n(&g_state, __ATOMIC_ACQUIRE);
  if (state == nullptr) state = Make();
  if (state == nullptr) return Nothing();
  if (__atomic_load_n(&state->attached, __ATOMIC_ACQUIRE) == State::kNotYet) Attach(*state);
  return *state;
}

bool IsMetered() {
  const State& state = TheState();
  if (state.attached != State::kInSlice) return false;
  for (uint32_t i = 0; i < state.slice->device_count && i < TRANCHE_SLICE_DEVICES; ++i) {
    TrancheDevice& device = state.slice->devices[i];
    if (MemoryLedger::Load(&device.turns_off) != 0) continue;
    if (__atomic_load_n(&ComputeOf(&device)->metered, __ATOMIC_RELAXED) != 0 ||
        MemoryLedger::Load(&device.turns_line) != 0)
      return true;
  }
  return false;
}

int32_t CurrentDevice(State& state) {
  uint32_t only = __atomic_load_n(&state.only_device, __ATOMIC_ACQUIRE);
  if (only == 0) {
    int count = 0;
    only = State::kForeign;
    if (REAL(cuDeviceGetCount)(&count) == CUDA_SUCCESS && count == 1 && DeviceOf(state, 0) >= 0)
      only = static_cast<uint32_t>(DeviceOf(state, 0)) + 1;
    __atomic_store_n(&state.only_device, only, __ATOMIC_RELEASE);
  }
  return only == State::kForeign ? Account::Current().device() : static_cast<int32_t>(only) - 1;
}

namespace {

// "<folder of the slice's file>/gpu-<uuid><suffix>", as TRANCHE_TURNS_FILE and TRANCHE_GATE_FILE
// say; false when that is too long.
bool PathOfGpu(const uint8_t* uuid, const char* suffix, char* path) {
  const char* slash = strrchr(g_slice_path, '/');
  const size_t folder = slash == nullptr ? 0 : static_cast<size_t>(slash - g_slice_path) + 1;
  constexpr char kDigits[] = "0123456789abcdef";
  constexpr size_t kName = 4 + 32 + 6;
  if (folder + kName + 1 > kMaxPath) return false;
  memcpy(path, g_slice_path, folder);
  char* at = path + folder;
  memcpy(at, "gpu-", 4);
  at += 4;
  for (int i = 0; i < 16; ++i) {
    *at++ = kDigits[uuid[i] >> 4];
    *at++ = kDigits[uuid[i] & 15];
  }
  memcpy(at, suffix, strlen(suffix) + 1);
  return true;
}

}  // namespace

namespace {

Turnstile FindGate(State& state, uint32_t i) {
  const uint64_t line = MemoryLedger::Load(&state.slice->devices[i].turns_line);
  if (line == 0 || line > kMostTenants) return {state.slice, i, state.slot, g_slice_path};
  if (__atomic_load_n(&state.turns_joined[i], __ATOMIC_ACQUIRE) == 0) {
    const Guard guard(state.turns_lock);
    if (state.turns_joined[i] == 0) {
      char gate[kMaxPath];
      const uint8_t* uuid = state.slice->devices[i].uuid;
      if (PathOfGpu(uuid, ".gate", gate)) state.gates[i] = GpuGate::Map(gate);
      if (PathOfGpu(uuid, ".turns", state.turns_path[i]))
        state.turns[i] = SliceFile::Join(state.turns_path[i], &state.turns_slot[i]);
      if (state.turns[i] == nullptr)
        MemoryLedger::Add(&state.slice->devices[i].counters.turns_missing, 1);
      __atomic_store_n(&state.turns_joined[i], 1, __ATOMIC_RELEASE);
    }
  }
  if (state.turns[i] == nullptr) return {state.slice, i, state.slot, g_slice_path};
  return {
      state.turns[i], 0, state.turns_slot[i], state.turns_path[i], static_cast<uint32_t>(line - 1),
      state.gates[i]};
}

// Says in the table how this process shares the device, which decides the policy there. Of a device
// whose ordinal is not known nobody has asked anything yet.
void SaySharing(State& state, uint32_t i, Turnstile gate) {
  CUdevice ordinal = 0;
  while (ordinal < static_cast<int>(kMaxOrdinals) &&
         __atomic_load_n(&state.device_of[ordinal], __ATOMIC_ACQUIRE) != i + 1)
    ++ordinal;
  if (ordinal == static_cast<int>(kMaxOrdinals)) return;
  const Guard guard(state.turns_lock);
  if (state.sharing_said[i] != 0) return;
  const bool client = IsMpsClient(ordinal);
  // A client of a server that limits its threads is shown fewer than there are.
  const auto sms = static_cast<uint32_t>(MemoryLedger::Load(&state.slice->devices[i].sm_count));
  int shown = 0;
  if (REAL(cuDeviceGetAttribute)(&shown, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, ordinal) !=
      CUDA_SUCCESS)
    shown = 0;
  state.usable_sms[i] = static_cast<uint32_t>(shown);
  state.sms[i] = sms != 0 ? sms : state.usable_sms[i];
  gate.Say(client ? Sharing::kMps : Sharing::kTimeSlice);
  __atomic_store_n(&state.sharing_said[i], 1, __ATOMIC_RELEASE);
}

}  // namespace

Turnstile GateOf(State& state, int32_t device) {
  const auto i = static_cast<uint32_t>(device);
  const Turnstile gate = FindGate(state, i);
  if (__builtin_expect(__atomic_load_n(&state.sharing_said[i], __ATOMIC_ACQUIRE) == 0, 0) &&
      gate.metered())
    SaySharing(state, i, gate);
  return gate;
}

const char* SlicePath() { return g_slice_path; }

Account Account::Of(CUdevice ordinal) {
  State& state = TheState();
  return {state, state.attached == State::kInSlice ? DeviceOf(state, ordinal) : kNone};
}

Place CurrentPlace(State& state) {
  CUcontext context = nullptr;
  Place place;
  if (REAL(cuCtxGetCurrent)(&context) != CUDA_SUCCESS || context == nullptr) return place;
  place.context = reinterpret_cast<uint64_t>(context);
  place.ordinal = state.contexts.Find(place.context);
  if (place.ordinal >= 0) return place;
  if (REAL(cuCtxGetDevice)(&place.ordinal) != CUDA_SUCCESS) place.ordinal = -1;
  state.contexts.Put(place.context, place.ordinal);
  return place;
}

Account Account::Current() {
  State& state = TheState();
  if (state.attached != State::kInSlice) return {state, kNone};
  const Place place = CurrentPlace(state);
  return {state, DeviceOf(state, place.ordinal), place.context};
}

Account Account::OfSlice(int32_t device) { return {TheState(), device}; }

uint64_t Account::limit() const {
  return device_ < 0 ? 0 : MemoryLedger(state_.slice, static_cast<uint32_t>(device_)).limit();
}

uint64_t Account::used() const {
  return device_ < 0 ? 0 : MemoryLedger(state_.slice, static_cast<uint32_t>(device_)).Used();
}

uint64_t Account::context_bytes() const {
  return device_ < 0 ? 0 : state_.slice->devices[device_].context_bytes;
}

bool Account::ReserveIf(uint64_t bytes, bool count) {
  if (!metered()) return true;
  if (device_ < 0) return false;
  const auto device = static_cast<uint32_t>(device_);
  MemoryLedger ledger(state_.slice, device);
  if (ledger.ReserveAtOnce(state_.slot, bytes)) return true;
  const auto wait = [this](uint32_t, uint32_t attempt) {
    // The one in the way may be dead; alive, it needs to run.
    if (attempt % 1024 == 1023) SliceFile::Reap(g_slice_path, state_.slice);
    libc::Yield();
    return attempt < kAttempts;
  };
  const auto reserve = [&] {
    const Guard guard(state_.reserve_locks[device]);
    return ledger.Reserve(state_.slot, bytes, wait);
  };
  Verdict verdict = reserve();
  // Before a no, the dead are asked to give back theirs.
  if (verdict != Verdict::kGranted && SliceFile::Reap(g_slice_path, state_.slice) > 0)
    verdict = reserve();
  if (verdict == Verdict::kGranted) return true;
  if (count) Count(&TrancheCounters::refused);
  if (verdict == Verdict::kContended) Count(&TrancheCounters::contended);
  return false;
}

void Account::Release(uint64_t bytes) {
  if (device_ < 0 || bytes == 0) return;
  MemoryLedger(state_.slice, static_cast<uint32_t>(device_)).Release(state_.slot, bytes);
}

bool Account::Settle(uint64_t reserved, uint64_t taken) {
  if (taken <= reserved) {
    Release(reserved - taken);
    return true;
  }
  if (Reserve(taken - reserved)) return true;
  Count(&TrancheCounters::undone);
  return false;
}

void Account::Overdraw(uint64_t bytes) {
  if (device_ < 0 || bytes == 0) return;
  MemoryLedger(state_.slice, static_cast<uint32_t>(device_)).Overdraw(state_.slot, bytes);
}

void Account::Count(uint64_t TrancheCounters::*counter) {
  if (device_ < 0) return;
  MemoryLedger::Add(&(state_.slice->devices[device_].counters.*counter), 1);
}

void CountEvent(uint64_t TrancheCounters::*counter) {
  State& state = TheState();
  if (state.slice != nullptr && state.slice->device_count > 0)
    MemoryLedger::Add(&(state.slice->devices[0].counters.*counter), 1);
}

}  // namespace tranche::limiter
