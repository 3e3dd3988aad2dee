#pragma once

#include <string>
#include <vector>

#include "edge/driver/nvml/errors.h"
#include "edge/driver/nvml/library.h"
#include "model/reading.h"

// Small pieces for reading values out of NVML: what it says is checked here before it is used.

namespace tranche {

// A value, or the return code that came instead.
template <typename T>
using Answer = tl::expected<T, nvmlReturn_t>;

template <typename T>
Reading<T> AbsentFor(nvmlReturn_t rc) {
  return Reading<T>::Absent(MeaningOf(rc).reason);
}

// The text in a buffer that the driver filled: up to the first NUL or `size`, with everything that
// is not a printable ASCII character replaced by '?'.
std::string CleanText(const char* buffer, size_t size);

// What a call of the form f(handle..., char*, length) says.
template <size_t size, typename Function, typename... Handle>
Answer<std::string> ReadText(const NvmlLibrary& nvml, Function function, Handle... handle) {
  char buffer[size] = {};
  const nvmlReturn_t rc =
      nvml.Call(function, handle..., static_cast<char*>(buffer), static_cast<unsigned int>(size));
  if (rc != NVML_SUCCESS) return tl::unexpected(rc);
  return CleanText(buffer, size);
}

// What a call of the form fill(unsigned* count, T* array) lists. The array grows while the driver
// asks for more; what it says it wrote is never believed beyond what there was room for.
template <typename T, typename Fill>
Answer<std::vector<T>> ReadList(const Fill& fill, unsigned int room = 64) {
  constexpr unsigned int kMostEntries = 1u << 16;
  for (int attempt = 0; attempt < 8 && room <= kMostEntries; ++attempt) {
    std::vector<T> list(room);
    unsigned int count = room;
    const nvmlReturn_t rc = fill(&count, list.data());
    if (rc == NVML_ERROR_INSUFFICIENT_SIZE) {
      // Processes come and go between two calls, so ask for a little more than was needed.
      const unsigned int needed = count > room ? count : room;
      if (needed > kMostEntries) break;
      room = needed + needed / 2 + 16;
      continue;
    }
    if (rc != NVML_SUCCESS) return tl::unexpected(rc);
    list.resize(count < room ? count : room);
    return list;
  }
  return tl::unexpected<nvmlReturn_t>(NVML_ERROR_INSUFFICIENT_SIZE);
}

}  // namespace tranche
