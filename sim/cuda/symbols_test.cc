// Every name, version and flag against the library as a program finds it.
#include "sim/cuda/symbols.h"

#include <dlfcn.h>

#include <map>
#include <set>
#include <string>

#include "sim/test/cuda_fixture.h"

namespace tranche::sim {
namespace {

struct Known {
  const char* name;
  const char* base;
  int since;
  bool per_thread;
};
constexpr Known kKnown[] = {
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) \
  {#name, #base, since, per_thread != 0},
#include "abi/cuda_symbols.inc"
};

// Asks the library for everything; answers with how many names it found.
size_t AskForAll(int driver) {
  std::set<std::string> found;
  std::map<std::string, std::vector<const Known*>> bases;
  std::set<int> versions = {1000, driver, 13040};
  for (const Known& known : kKnown) {
    bases[known.base].push_back(&known);
    if (known.since > 0) versions.insert({known.since - 10, known.since});
  }
  for (const auto& [base, symbols] : bases) {
    for (const int version : versions) {
      for (int flag = 0; flag <= 2; ++flag) {
        const Known* best[2] = {nullptr, nullptr};
        bool exists = false;
        for (const Known* symbol : symbols) {
          if (symbol->since == 0 || symbol->since > driver) continue;
          exists = true;
          const Known*& slot = best[symbol->per_thread];
          if (symbol->since <= version && (slot == nullptr || slot->since < symbol->since))
            slot = symbol;
        }
        const Known* expected = flag == 2 && best[1] != nullptr ? best[1] : best[0];
        void* address = &address;
        CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
        const CUresult answer = cuGetProcAddress_v2(base.c_str(), &address, version,
                                                    static_cast<cuuint64_t>(flag), &status);
        const auto where = base + " " + std::to_string(version) + " " + std::to_string(flag);
        if (expected == nullptr) {
          EXPECT_EQ(answer, CUDA_ERROR_NOT_FOUND) << where;
          EXPECT_EQ(address, nullptr) << where;
          EXPECT_EQ(status, exists ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                                   : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND)
              << where;
        } else {
          EXPECT_EQ(answer, CUDA_SUCCESS) << where;
          EXPECT_EQ(status, CU_GET_PROC_ADDRESS_SUCCESS) << where;
          EXPECT_EQ(address, dlsym(RTLD_DEFAULT, expected->name)) << where;
          found.insert(expected->name);
        }
      }
    }
  }
  return found.size();
}

class CudaSymbols : public testing::TestWithParam<int> {};

TEST_P(CudaSymbols, AreThoseOfTheDriver) {
  const int driver = GetParam();
  ScratchDir scratch;
  const std::string dir = scratch.path() + "/machine";
  MachineSpec spec = SpecOf("H100-SXM5-80GB");
  spec.driver.cuda_version = driver;
  ASSERT_TRUE(Machine::Create(dir, spec));
  // The version is read once in a process.
  const pid_t child = fork();
  if (child == 0) {
    setenv("TRANCHE_SIM_DIR", dir.c_str(), 1);
    size_t expected = 0;
    for (const Known& known : kKnown) expected += known.since > 0 && known.since <= driver;
    EXPECT_EQ(AskForAll(driver), expected);
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

INSTANTIATE_TEST_SUITE_P(Generations, CudaSymbols, testing::Values(12020, 12080, 13000, 13040));

TEST(CudaSymbolsTest, AllAreExported) {
  for (const Known& known : kKnown)
    EXPECT_NE(dlsym(RTLD_DEFAULT, known.name), nullptr) << known.name;
  EXPECT_EQ(std::size(kKnown), 637u);
}

}  // namespace
}  // namespace tranche::sim
