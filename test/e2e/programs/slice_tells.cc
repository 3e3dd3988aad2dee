// slice_tells: what the table of the slice that this runs in says for people: "turns_off N", and
// "unenforceable NAME" if there was a kernel too long for turns.
#include <fcntl.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#include "limiter/policy/compute_table.h"

int main() {
  using tranche::limiter::UnenforceableKernel;
  const char* path = std::getenv("TRANCHE_SLICE_FILE");
  const int file = path == nullptr ? -1 : open(path, O_RDWR);
  void* memory =
      file < 0 ? MAP_FAILED
               : mmap(nullptr, TRANCHE_SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) {
    std::perror("the slice's table");
    return 1;
  }
  TrancheDevice& device = static_cast<TrancheSlice*>(memory)->devices[0];
  std::printf("turns_off %llu\n", static_cast<unsigned long long>(device.turns_off));
  const UnenforceableKernel& kernel = tranche::limiter::ComputeOf(&device)->kernel;
  if (kernel.told == UnenforceableKernel::kWritten)
    std::printf("unenforceable %.123s\n", kernel.name);
  return 0;
}
