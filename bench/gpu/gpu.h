#pragma once

#include <time.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "driver.h"

namespace tranche::gpu_check {

// NAME=VALUE words of a command line; values are numbers.
class Options {
 public:
  Options(int argc, char** argv) {
    for (int i = 0; i < argc; ++i) {
      const std::string word = argv[i];
      const size_t at = word.find('=');
      if (at == std::string::npos) Give("not NAME=VALUE: " + word, 64);
      values_[word.substr(0, at)] = std::strtod(word.c_str() + at + 1, nullptr);
    }
  }
  double Get(const std::string& name, double otherwise) const {
    const auto found = values_.find(name);
    return found == values_.end() ? otherwise : found->second;
  }
  int64_t Int(const std::string& name, int64_t otherwise) const {
    return static_cast<int64_t>(Get(name, static_cast<double>(otherwise)));
  }

 private:
  std::map<std::string, double> values_;
};

inline void Say(const char* name, double value) { std::printf("%s %.17g\n", name, value); }

// ns of CLOCK_MONOTONIC.
inline int64_t Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}
inline void SleepUntil(int64_t at) {
  const timespec time = {at / 1000000000, at % 1000000000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) != 0) {
  }
}

// `part` of 1: 0.5 is the median.
inline double Quantile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1,
                         static_cast<size_t>(part * static_cast<double>(values.size())))];
}

// GPU 0 with a context, and what is to be run on it.
struct Gpu {
  Gpu();

  bool simulated = false;  // its kernels take time and do nothing
  CUdevice device = 0;
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUstream stream = nullptr;
  int multiprocessors = 0;

  const char* code() const;  // of all kernels
  CUfunction Kernel(const char* name) const;
  CUdeviceptr Memory(size_t bytes) const;  // zeros
  std::vector<uint64_t> Read(CUdeviceptr from, size_t words) const;
  void Wait() const;
  int64_t GlobalTimer() const;  // ns of the GPU's clock
};

// The kernel `spin` in one shape.
struct Spin {
  CUfunction kernel = nullptr;
  unsigned blocks = 1;
  uint64_t nominal = 0;  // ns
  uint64_t iterations = 1;
  CUdeviceptr counters = 0;
  uint64_t from = 0, to = 0;

  void Launch(CUstream stream);
  // Sets `iterations` so that one launch takes `nominal` alone. True time of it in ns.
  double Calibrate(const Gpu& gpu);
};

}  // namespace tranche::gpu_check
