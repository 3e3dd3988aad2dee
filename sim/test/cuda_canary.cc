// Does every symbol, asked for in every way, reach the ABI that the facts say it has?
//
//   cuda_canary LIBRARY [DRIVER]
//
// LIBRARY is asked: by dlsym, and by cuGetProcAddress for each version and flag. DRIVER, the canary
// driver, says what arrived; it is LIBRARY itself unless LIBRARY is a shim in front of it. With a
// DRIVER of its own, a shim need not pass everything on: names after it are passed over.
#include "sim/test/cuda_canary.h"

#include <dlfcn.h>

#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace tranche::sim::canary {
namespace {

struct Known {
  const char* name;
  const char* base;
  int since;
  bool per_thread;
  Record expected;
  CUresult (*make)(void*, size_t);
};

std::vector<Known> AllSymbols() {
  std::vector<Known> all;
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) \
  all.push_back({#name, #base, since, per_thread != 0,                    \
                 Call<CUresult parameters>::Expected(all.size()),         \
                 &Call<CUresult parameters>::Make});
#include "abi/cuda_symbols.inc"
  return all;
}

class Check {
 public:
  Check(void* library, void* driver, std::set<std::string> passed_over)
      : library_(library),
        last_(reinterpret_cast<void (*)(Record*)>(dlsym(driver, "cuCanaryLast"))),
        forget_(reinterpret_cast<void (*)()>(dlsym(driver, "cuCanaryForget"))),
        passed_over_(std::move(passed_over)) {}

  int Run() {
    if (last_ == nullptr || forget_ == nullptr) {
      std::fprintf(stderr, "cuda_canary: the driver is no canary\n");
      return 2;
    }
    for (size_t i = 0; i < symbols_.size(); ++i) {
      void* address = dlsym(library_, symbols_[i].name);
      if (address == nullptr) {
        Fail(i, "is not exported");
        continue;
      }
      Arrives(i, address, "by dlsym");
    }
    ByProcAddress();
    std::printf("cuda_canary: %zu symbols, %d calls, %d failures\n", symbols_.size(), calls_,
                failures_);
    return failures_ == 0 ? 0 : 1;
  }

 private:
  void Fail(size_t symbol, const std::string& what) {
    ++failures_;
    std::fprintf(stderr, "%s: %s\n", symbols_[symbol].name, what.c_str());
  }

  // The two that have to answer rather than remember.
  bool Answers(size_t symbol) const {
    return std::string_view(symbols_[symbol].base) == "cuGetProcAddress";
  }

  void Arrives(size_t symbol, void* address, const std::string& how) {
    if (Answers(symbol) || passed_over_.count(symbols_[symbol].name) > 0) return;
    forget_();
    ++calls_;
    // Looking at a call must not depend on what a made-up argument points to: the canary driver
    // follows none.
    const CUresult answer = symbols_[symbol].make(address, symbol);
    Record arrived;
    last_(&arrived);
    const Record& expected = symbols_[symbol].expected;
    if (answer != CUDA_SUCCESS) Fail(symbol, how + " answers " + std::to_string(answer));
    if (arrived.symbol != expected.symbol) {
      Fail(symbol, how + " arrives at " + symbols_[arrived.symbol].name);
    } else if (std::memcmp(&arrived, &expected, sizeof(arrived)) != 0) {
      Fail(symbol, how + " arrives with other arguments");
    }
  }

  // Restates from the facts alone what a driver answers: the newest ABI of the base that is not
  // newer than what was asked for; with the flag its variant per thread, if there is one.
  const Known* Expected(const std::vector<size_t>& of_base, int version, int flag) const {
    const Known* best[2] = {nullptr, nullptr};
    for (const size_t i : of_base) {
      const Known& symbol = symbols_[i];
      if (symbol.since == 0 || symbol.since > version) continue;
      const Known*& slot = best[symbol.per_thread ? 1 : 0];
      if (slot == nullptr || slot->since < symbol.since) slot = &symbol;
    }
    return flag == 2 && best[1] != nullptr ? best[1] : best[0];
  }

  void ByProcAddress() {
    const auto ask =
        reinterpret_cast<decltype(&::cuGetProcAddress_v2)>(dlsym(library_, "cuGetProcAddress_v2"));
    std::map<std::string, std::vector<size_t>> bases;
    std::set<int> versions = {1000, 2000, 12020, 12080, 13000, 13040};
    for (size_t i = 0; i < symbols_.size(); ++i) {
      bases[symbols_[i].base].push_back(i);
      if (symbols_[i].since == 0) continue;
      versions.insert(symbols_[i].since - 10);
      versions.insert(symbols_[i].since);
    }
    for (const auto& [base, of_base] : bases) {
      for (const int version : versions) {
        for (int flag = 0; flag <= 2; ++flag) {
          const std::string how =
              "for " + std::to_string(version) + " with flag " + std::to_string(flag);
          void* address = nullptr;
          CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
          const CUresult answer =
              ask(base.c_str(), &address, version, static_cast<cuuint64_t>(flag), &status);
          const Known* expected = Expected(of_base, version, flag);
          if (expected == nullptr) {
            if (answer == CUDA_SUCCESS || address != nullptr)
              Fail(of_base[0], how + " is found");
            else if (status == CU_GET_PROC_ADDRESS_SUCCESS)
              Fail(of_base[0], how + " leaves the status as it was");
            continue;
          }
          const size_t symbol = static_cast<size_t>(expected - symbols_.data());
          if (answer != CUDA_SUCCESS || address == nullptr ||
              status != CU_GET_PROC_ADDRESS_SUCCESS) {
            Fail(symbol, how + " is not found");
            continue;
          }
          Arrives(symbol, address, how);
        }
      }
    }
  }

  void* library_;
  void (*last_)(Record*);
  void (*forget_)();
  const std::set<std::string> passed_over_;
  const std::vector<Known> symbols_ = AllSymbols();
  int calls_ = 0, failures_ = 0;
};

}  // namespace
}  // namespace tranche::sim::canary

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: cuda_canary LIBRARY [DRIVER [NAME...]]\n");
    return 64;
  }
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  void* driver = argc > 2 ? dlopen(argv[2], RTLD_NOW | RTLD_LOCAL) : library;
  if (library == nullptr || driver == nullptr) {
    std::fprintf(stderr, "cuda_canary: %s\n", dlerror());
    return 2;
  }
  std::set<std::string> passed_over;
  for (int i = 3; i < argc; ++i) passed_over.insert(argv[i]);
  return tranche::sim::canary::Check(library, driver, std::move(passed_over)).Run();
}
