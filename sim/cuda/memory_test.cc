// Families of device memory: what each takes of the device, and when it gives it back.
#include "sim/test/cuda_fixture.h"

namespace tranche::sim {
namespace {

using CudaMemory = CudaProcess;

CUmemAllocationProp OnDevice() {
  CUmemAllocationProp properties = {};
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  return properties;
}

uint64_t PoolValue(CUmemoryPool pool, CUmemPool_attribute attribute) {
  cuuint64_t value = 0;
  EXPECT_EQ(cuMemPoolGetAttribute(pool, attribute, &value), CUDA_SUCCESS);
  return value;
}

TEST_F(CudaMemory, SmallAllocationsShareAGranule) {
  InContext([&] {
    const uint64_t before = Used();
    CUdeviceptr a = 0, b = 0, large = 0;
    EXPECT_EQ(cuMemAlloc_v2(&a, 1), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 2 * kMiB);
    EXPECT_EQ(cuMemAlloc_v2(&b, kMiB), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 2 * kMiB) << "there is room in it";
    EXPECT_GE(b, a + 512);
    EXPECT_EQ(cuMemAlloc_v2(&large, 2 * kMiB + 1), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 6 * kMiB);
    EXPECT_EQ(cuMemFree_v2(a), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 6 * kMiB) << "b still lives there";
    EXPECT_EQ(cuMemFree_v2(b), CUDA_SUCCESS);
    EXPECT_EQ(cuMemFree_v2(large), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    EXPECT_EQ(cuMemFree_v2(a), CUDA_ERROR_INVALID_VALUE) << "twice";
  });
}

TEST_F(CudaMemory, ThousandsOfSmallOnesGoBackToNothing) {
  InContext([&] {
    const uint64_t before = Used();
    std::vector<CUdeviceptr> all(5000);
    for (size_t i = 0; i < all.size(); ++i)
      EXPECT_EQ(cuMemAlloc_v2(&all[i], 512 * (1 + i % 7)), CUDA_SUCCESS);
    for (size_t i = 0; i < all.size(); i += 2) EXPECT_EQ(cuMemFree_v2(all[i]), CUDA_SUCCESS);
    for (size_t i = 1; i < all.size(); i += 2) EXPECT_EQ(cuMemFree_v2(all[i]), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
  });
}

TEST_F(CudaMemory, APoolKeepsUpToItsThreshold) {
  InContext([&] {
    CUmemoryPool pool = nullptr;
    EXPECT_EQ(cuDeviceGetDefaultMemPool(&pool, 0), CUDA_SUCCESS);
    const uint64_t before = Used();
    CUdeviceptr a = 0;
    EXPECT_EQ(cuMemAllocAsync(&a, 10 * kMiB, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(PoolValue(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 10 * kMiB);
    const uint64_t reserved = PoolValue(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT);
    EXPECT_GE(reserved, 10 * kMiB);
    EXPECT_EQ(Used(), before + reserved) << "charged by what it reserves";
    EXPECT_EQ(cuMemFreeAsync(a, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(PoolValue(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT), 0u);
    EXPECT_EQ(Used(), before + reserved) << "until the next synchronisation";
    EXPECT_EQ(cuStreamSynchronize(nullptr), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    EXPECT_EQ(PoolValue(pool, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH), reserved);

    cuuint64_t all = ~cuuint64_t{0};
    EXPECT_EQ(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAllocAsync(&a, kMiB, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuMemFree_v2(a), CUDA_SUCCESS) << "the plain free takes it, too";
    EXPECT_EQ(cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_GT(Used(), before);
    EXPECT_EQ(cuMemPoolTrimTo(pool, 0), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    EXPECT_EQ(cuMemAlloc_v2(&a, kMiB), CUDA_SUCCESS);
    EXPECT_EQ(cuMemFreeAsync(a, nullptr), CUDA_SUCCESS) << "and the other way round";
    EXPECT_EQ(Used(), before);
  });
}

TEST_F(CudaMemory, APoolHasAMost) {
  InContext([] {
    CUmemPoolProps properties = {};
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    properties.maxSize = 8 * kMiB;
    CUmemoryPool pool = nullptr;
    EXPECT_EQ(cuMemPoolCreate(&pool, &properties), CUDA_SUCCESS);
    CUdeviceptr a = 0, b = 0;
    EXPECT_EQ(cuMemAllocFromPoolAsync(&a, 6 * kMiB, pool, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAllocFromPoolAsync(&b, 6 * kMiB, pool, nullptr), CUDA_ERROR_OUT_OF_MEMORY);
    EXPECT_EQ(cuMemFreeAsync(a, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAllocFromPoolAsync(&b, 8 * kMiB, pool, nullptr), CUDA_SUCCESS);
  });
}

TEST_F(CudaMemory, PhysicalMemoryGoesWithTheLastOfHandlesAndMappings) {
  InContext([&] {
    const uint64_t before = Used();
    const CUmemAllocationProp properties = OnDevice();
    CUmemGenericAllocationHandle handle = 0, again = 0, imported = 0;
    EXPECT_EQ(cuMemCreate(&handle, kMiB, &properties, 0), CUDA_ERROR_INVALID_VALUE)
        << "no whole granule";
    EXPECT_EQ(cuMemCreate(&handle, 4 * kMiB, &properties, 0), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 4 * kMiB);
    CUdeviceptr address = 0;
    EXPECT_EQ(cuMemAddressReserve(&address, 8 * kMiB, 0, 0, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuMemMap(address, 4 * kMiB, 0, handle, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuMemMap(address, 4 * kMiB, 0, handle, 0), CUDA_ERROR_INVALID_VALUE) << "taken";
    EXPECT_EQ(cuMemMap(address + 4 * kMiB, 4 * kMiB, 0, handle, 0), CUDA_SUCCESS) << "an alias";
    CUmemAccessDesc access = {{CU_MEM_LOCATION_TYPE_DEVICE, 0}, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    EXPECT_EQ(cuMemSetAccess(address, 8 * kMiB, &access, 1), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD8_v2(address, 7, 16), CUDA_SUCCESS);
    char seen = 0;
    EXPECT_EQ(cuMemcpyDtoH_v2(&seen, address + 4 * kMiB + 3, 1), CUDA_SUCCESS);
    EXPECT_EQ(seen, 7);
    EXPECT_EQ(cuMemRelease(handle), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 4 * kMiB) << "is mapped";
    EXPECT_EQ(cuMemRetainAllocationHandle(&again, reinterpret_cast<void*>(address)), CUDA_SUCCESS);
    EXPECT_EQ(again, handle);
    int descriptor = -1;
    EXPECT_EQ(cuMemExportToShareableHandle(&descriptor, again,
                                           CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
              CUDA_SUCCESS);
    EXPECT_EQ(
        cuMemImportFromShareableHandle(&imported, reinterpret_cast<void*>(intptr_t{descriptor}),
                                       CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR),
        CUDA_SUCCESS);
    EXPECT_EQ(cuMemUnmap(address, 8 * kMiB), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAddressFree(address, 8 * kMiB), CUDA_SUCCESS);
    EXPECT_EQ(cuMemRelease(again), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 4 * kMiB) << "was imported";
    EXPECT_EQ(cuMemRelease(imported), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    EXPECT_EQ(cuMemRelease(handle), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST_F(CudaMemory, ArraysTakeWhatTheirShapeNeeds) {
  InContext([&] {
    const uint64_t before = Used();
    CUDA_ARRAY_DESCRIPTOR shape = {4096, 4096, CU_AD_FORMAT_FLOAT, 4};  // 256 MiB
    CUarray array = nullptr;
    EXPECT_EQ(cuArrayCreate_v2(&array, &shape), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 256 * kMiB);
    EXPECT_EQ(cuArrayDestroy(array), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    CUDA_ARRAY3D_DESCRIPTOR pyramid = {4096, 4096, 0, CU_AD_FORMAT_FLOAT, 4, 0};
    CUmipmappedArray levels = nullptr;
    EXPECT_EQ(cuMipmappedArrayCreate(&levels, &pyramid, 3), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + (256 + 64 + 16) * kMiB);
    EXPECT_EQ(cuMipmappedArrayDestroy(levels), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    pyramid.Flags = 0x80;  // its memory is mapped later
    EXPECT_EQ(cuMipmappedArrayCreate(&levels, &pyramid, 3), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    CUDA_ARRAY_MEMORY_REQUIREMENTS needs;
    EXPECT_EQ(cuMipmappedArrayGetMemoryRequirements(&needs, levels, 0), CUDA_SUCCESS);
    EXPECT_EQ(needs.size, (256 + 64 + 16) * kMiB);
    shape.NumChannels = 3;
    EXPECT_EQ(cuArrayCreate_v2(&array, &shape), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST_F(CudaMemory, LargerLimitsOfAContextAreCharged) {
  InContext([&] {
    const uint64_t before = Used();
    EXPECT_EQ(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 72 * kMiB), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 64 * kMiB);
    size_t heap = 0;
    EXPECT_EQ(cuCtxGetLimit(&heap, CU_LIMIT_MALLOC_HEAP_SIZE), CUDA_SUCCESS);
    EXPECT_EQ(heap, 72 * kMiB);
    EXPECT_EQ(cuCtxSetLimit(CU_LIMIT_MALLOC_HEAP_SIZE, 8 * kMiB), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
  });
}

TEST_F(CudaMemory, AnotherProcessOpensItByHandle) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  InContext([&] {
    CUdeviceptr pointer = 0;
    CUipcMemHandle handle = {};
    EXPECT_EQ(cuMemAlloc_v2(&pointer, 4 * kMiB), CUDA_SUCCESS);
    EXPECT_EQ(cuIpcGetMemHandle(&handle, pointer), CUDA_SUCCESS);
    EXPECT_EQ(write(ends[1], &handle, sizeof(handle)), ssize_t{sizeof(handle)});
    EXPECT_EQ(cuIpcOpenMemHandle_v2(&pointer, handle, 1), CUDA_ERROR_INVALID_CONTEXT)
        << "not by its own";
  });
  InContext([&] {
    const uint64_t before = Used();
    CUipcMemHandle handle = {};
    EXPECT_EQ(read(ends[0], &handle, sizeof(handle)), ssize_t{sizeof(handle)});
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuIpcOpenMemHandle_v2(&pointer, handle, 1), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before) << "is charged where it was allocated";
    EXPECT_EQ(cuMemFree_v2(pointer), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuIpcCloseMemHandle(pointer), CUDA_SUCCESS);
  });
}

}  // namespace
}  // namespace tranche::sim
