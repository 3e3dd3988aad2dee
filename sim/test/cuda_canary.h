#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "abi/cuda.h"

// Arguments that tell where they went: of each parameter, by its place and its type, one value that
// no other place has.
namespace tranche::sim::canary {

inline constexpr size_t kMaxParameters = 16;
inline constexpr size_t kMaxBytes = 64;  // of one argument

// A call as it arrived.
struct Record {
  size_t symbol = 0;
  size_t count = 0;
  size_t bytes[kMaxParameters] = {};
  unsigned char values[kMaxParameters][kMaxBytes] = {};
};

// Of a pointer its own size is meant. NOLINTBEGIN(bugprone-sizeof-expression)
template <typename T>
T Value(size_t symbol, size_t place) {
  static_assert(sizeof(T) <= kMaxBytes);
  unsigned char bytes[sizeof(T)];
  for (size_t i = 0; i < sizeof(T); ++i)
    bytes[i] = static_cast<unsigned char>(symbol * 31 + place * 17 + i * 7 + 1);
  if constexpr (std::is_enum_v<T>) {
    // Every enumeration can hold these.
    return static_cast<T>((symbol + place) % 2);
  } else if constexpr (std::is_floating_point_v<T>) {
    // No bits of a signalling NaN, which a register may change.
    return static_cast<T>(symbol * 16 + place) + static_cast<T>(0.5);
  } else {
    T value;
    std::memcpy(static_cast<void*>(&value), bytes, sizeof(T));
    return value;
  }
}

template <typename T>
void Put(Record* record, const T& value) {
  record->bytes[record->count] = sizeof(T);
  std::memcpy(record->values[record->count], &value, sizeof(T));
  ++record->count;
}
// NOLINTEND(bugprone-sizeof-expression)

// The calls that a symbol of that type makes and gets.
template <typename Function>
struct Call;
template <typename... Parameters>
struct Call<CUresult(Parameters...)> {
  static Record Expected(size_t symbol) {
    Record record;
    record.symbol = symbol;
    size_t place = 0;
    // In order: braces.
    [[maybe_unused]] const int done[] = {0,
                                         (Put(&record, Value<Parameters>(symbol, place++)), 0)...};
    return record;
  }
  static CUresult Make(void* address, size_t symbol) {
    return Apply(reinterpret_cast<CUresult (*)(Parameters...)>(address), symbol,
                 std::make_index_sequence<sizeof...(Parameters)>());
  }
  template <size_t... kPlaces>
  static CUresult Apply(CUresult (*function)(Parameters...), [[maybe_unused]] size_t symbol,
                        std::index_sequence<kPlaces...>) {
    return function(Value<Parameters>(symbol, kPlaces)...);
  }
};

}  // namespace tranche::sim::canary
