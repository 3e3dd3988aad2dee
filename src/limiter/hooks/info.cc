#include "limiter/hooks/metered.h"

// What the program is told of the device's memory: its slice of it.
namespace tranche::limiter {
namespace {

uint64_t Least(uint64_t a, uint64_t b) { return a < b ? a : b; }

// Down to what 32 bits can say, as the driver does for those who ask that way.
unsigned int Narrow(uint64_t bytes) {
  return bytes > UINT32_MAX ? UINT32_MAX : static_cast<unsigned int>(bytes);
}

void View(Account account, size_t* free, size_t* total) {
  const uint64_t limit = account.limit(), used = account.used();
  *total = Least(*total, limit);
  *free = Least(*free, limit > used ? limit - used : 0);
}

}  // namespace

// Never an error of our own, not even where more is used than allowed. Where a pointer is null the
// driver says whether it minds.
HOOK(cuMemGetInfo_v2, (size_t * free, size_t* total)) {
  CUresult answer = REAL(cuMemGetInfo_v2)(free, total);
  if (answer != CUDA_SUCCESS) return answer;
  const Account account = Account::Current();
  if (!account.metered()) return answer;
  size_t real_free = 0, real_total = 0;
  if (free != nullptr && total != nullptr) {
    real_free = *free;
    real_total = *total;
  } else {
    answer = REAL(cuMemGetInfo_v2)(&real_free, &real_total);
  }
  View(account, &real_free, &real_total);
  if (free != nullptr) *free = real_free;
  if (total != nullptr) *total = real_total;
  return answer;
}

HOOK(cuMemGetInfo, (unsigned int* free, unsigned int* total)) {
  CUresult answer = REAL(cuMemGetInfo)(free, total);
  const Account account = Account::Current();
  if (answer != CUDA_SUCCESS || !account.metered()) return answer;
  size_t real_free = 0, real_total = 0;
  answer = REAL(cuMemGetInfo_v2)(&real_free, &real_total);
  View(account, &real_free, &real_total);
  if (free != nullptr) *free = Narrow(real_free);
  if (total != nullptr) *total = Narrow(real_total);
  return answer;
}

HOOK(cuDeviceTotalMem_v2, (size_t * bytes, CUdevice device)) {
  const CUresult answer = REAL(cuDeviceTotalMem_v2)(bytes, device);
  if (answer != CUDA_SUCCESS) return answer;
  const Account account = Account::Of(device);
  if (account.metered()) *bytes = Least(*bytes, account.limit());
  return answer;
}

HOOK(cuDeviceTotalMem, (unsigned int* bytes, CUdevice device)) {
  const CUresult answer = REAL(cuDeviceTotalMem)(bytes, device);
  if (answer != CUDA_SUCCESS) return answer;
  const Account account = Account::Of(device);
  if (account.metered()) *bytes = Narrow(Least(*bytes, account.limit()));
  return answer;
}

}  // namespace tranche::limiter
