/*
 * make_slice FILE LIMIT_MIB UUID: a slice's table as whoever makes slices lays it out, of one
 * device that may be a MIG device.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/slice_table.h"

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  static TrancheSlice slice;
  slice.magic = TRANCHE_SLICE_MAGIC;
  slice.version = TRANCHE_SLICE_VERSION;
  slice.device_count = 1;
  slice.bytes = TRANCHE_SLICE_BYTES;
  slice.devices[0].memory_limit = strtoull(argv[2], NULL, 10) << 20;
  const char* text = strchr(argv[3], '-');
  for (int digits = 0; text != NULL && *text != 0 && digits < 32; ++text) {
    const char digit[] = {*text, 0};
    if (*text == '-') continue;
    uint8_t* byte = &slice.devices[0].uuid[digits / 2];
    *byte = (uint8_t)(*byte * 16 + strtoul(digit, NULL, 16));
    ++digits;
  }
  const int fd = open(argv[1], O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (fd < 0 || write(fd, &slice, sizeof(slice)) != (ssize_t)sizeof(slice)) {
    perror(argv[1]);
    return 1;
  }
  return close(fd);
}
