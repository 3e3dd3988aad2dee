#include "limiter/hooks/metered.h"

// Memory that another interface allocated (Vulkan, OpenGL, a driver of the host's) and that comes
// into CUDA. What that interface takes is on no account, since none of its calls pass here; so what
// is imported is charged to whoever imports it, as long as it does: better by an exporter beside
// the slice as well than by nobody. Nothing that is mapped of it takes more. And the slice says
// that it uses such an interface at all.
namespace tranche::limiter {

HOOK(cuImportExternalMemory,
     (CUexternalMemory * memory, const CUDA_EXTERNAL_MEMORY_HANDLE_DESC* description)) {
  const auto import = [&] { return REAL(cuImportExternalMemory)(memory, description); };
  if (!IsLimited() || memory == nullptr || description == nullptr || description->size == 0)
    return import();
  Account account = Account::Current();
  const CUresult answer = Metered(
      account, Granules(description->size), import,
      [&](const Charge& charge) {
        return TheState().handles.Put(Kind::kExternal, Number(*memory), charge);
      },
      [&] {
        REAL(cuDestroyExternalMemory)
        (*memory);
      });
  if (answer == CUDA_SUCCESS) account.Count(&TrancheCounters::unmetered);
  return answer;
}

HOOK(cuDestroyExternalMemory, (CUexternalMemory memory)) {
  return Unmetered(Kind::kExternal, Number(memory),
                   [&] { return REAL(cuDestroyExternalMemory)(memory); });
}

namespace {

CUresult CountIf(CUresult answer) {
  if (answer == CUDA_SUCCESS && IsLimited()) Account::Current().Count(&TrancheCounters::unmetered);
  return answer;
}

}  // namespace

// Of resources that a graphics interface made. How large they are it does not say.
HOOK(cuGraphicsMapResources, (unsigned int count, CUgraphicsResource* resources, CUstream stream)) {
  return CountIf(REAL(cuGraphicsMapResources)(count, resources, stream));
}
HOOK(cuGraphicsMapResources_ptsz,
     (unsigned int count, CUgraphicsResource* resources, CUstream stream)) {
  return CountIf(REAL(cuGraphicsMapResources_ptsz)(count, resources, stream));
}

namespace {

// Managed memory is charged in full, wherever it is. But where the GPU reads the host's own pages,
// it may have any of them come: those that a program sends there itself are counted.
bool IsManaged(CUdeviceptr pointer) {
  unsigned int managed = 0;
  return REAL(cuPointerGetAttribute)(&managed, CU_POINTER_ATTRIBUTE_IS_MANAGED, pointer) ==
             CUDA_SUCCESS &&
         managed != 0;
}

CUresult Prefetched(CUresult answer, CUdeviceptr pointer, CUdevice ordinal) {
  if (answer == CUDA_SUCCESS && IsLimited() && ordinal >= 0 && !IsManaged(pointer))
    Account::Of(ordinal).Count(&TrancheCounters::unmetered);
  return answer;
}

CUdevice DeviceOf(const CUmemLocation& location) {
  return location.type == CU_MEM_LOCATION_TYPE_DEVICE ? location.id : -1;
}

// Each of `places` holds from its index on, until the next one's.
CUresult PrefetchedAll(CUresult answer, const CUdeviceptr* pointers, size_t count,
                       const CUmemLocation* places, const size_t* from, size_t place_count) {
  if (answer != CUDA_SUCCESS || !IsLimited() || place_count == 0) return answer;
  size_t place = 0;
  for (size_t i = 0; i < count; ++i) {
    while (place + 1 < place_count && from[place + 1] <= i) ++place;
    Prefetched(answer, pointers[i], DeviceOf(places[place]));
  }
  return answer;
}

}  // namespace

HOOK(cuMemPrefetchAsync, (CUdeviceptr pointer, size_t bytes, CUdevice device, CUstream stream)) {
  return Prefetched(REAL(cuMemPrefetchAsync)(pointer, bytes, device, stream), pointer, device);
}
HOOK(cuMemPrefetchAsync_ptsz,
     (CUdeviceptr pointer, size_t bytes, CUdevice device, CUstream stream)) {
  return Prefetched(REAL(cuMemPrefetchAsync_ptsz)(pointer, bytes, device, stream), pointer, device);
}
HOOK(cuMemPrefetchAsync_v2, (CUdeviceptr pointer, size_t bytes, CUmemLocation location,
                             unsigned int flags, CUstream stream)) {
  return Prefetched(REAL(cuMemPrefetchAsync_v2)(pointer, bytes, location, flags, stream), pointer,
                    DeviceOf(location));
}
HOOK(cuMemPrefetchAsync_v2_ptsz, (CUdeviceptr pointer, size_t bytes, CUmemLocation location,
                                  unsigned int flags, CUstream stream)) {
  return Prefetched(REAL(cuMemPrefetchAsync_v2_ptsz)(pointer, bytes, location, flags, stream),
                    pointer, DeviceOf(location));
}

#define PREFETCHES_ALL(name)                                                                    \
  HOOK(name, (CUdeviceptr * pointers, size_t * sizes, size_t count, CUmemLocation * places,     \
              size_t * from, size_t place_count, unsigned long long flags, CUstream stream)) {  \
    return PrefetchedAll(                                                                       \
        REAL(name)(pointers, sizes, count, places, from, place_count, flags, stream), pointers, \
        count, places, from, place_count);                                                      \
  }
PREFETCHES_ALL(cuMemPrefetchBatchAsync)
PREFETCHES_ALL(cuMemPrefetchBatchAsync_ptsz)
PREFETCHES_ALL(cuMemDiscardAndPrefetchBatchAsync)
PREFETCHES_ALL(cuMemDiscardAndPrefetchBatchAsync_ptsz)
#undef PREFETCHES_ALL

}  // namespace tranche::limiter
