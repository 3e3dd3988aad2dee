#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Programs as far as a GPU's time is concerned: one host thread that repeats a script. Their shapes
// are those on which sharing fails in one way or another.
namespace tranche::sim {

enum class Act : uint8_t {
  kLaunch,
  kCopy,     // to the GPU, stream-ordered, returns at once
  kSync,     // waits for all that was launched
  kCpu,      // computes on the host
  kIdle,     // waits for something outside, exponentially distributed
  kArrival,  // waits for the next of requests that come `duration` apart, whatever became of others
};

enum class Spread : uint8_t { kJitter, kLognormal };  // 3 %; sigma 1 around the same mean

struct Op {
  Act act = Act::kLaunch;
  int64_t duration = 0;  // ns; of kIdle the mean
  uint32_t key = 0;      // what the kernel is: the same key, the same code
  uint32_t blocks = 132;
  uint32_t stream = 0;
  bool graph = false;
  Spread spread = Spread::kJitter;
  // The first of a request: from its arrival or its return from idleness its latency is measured.
  bool request = false;
};

struct Program {
  std::string name;
  std::vector<Op> script;
  bool async = false;  // keeps the GPU busy without a pause
};

// By the names of ShapeNames(); nullopt for any other.
std::optional<Program> Shape(std::string_view name);
const std::vector<std::string>& ShapeNames();

}  // namespace tranche::sim
