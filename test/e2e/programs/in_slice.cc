// in_slice UUID=MIB:PERCENT... -- COMMAND...: runs a command in a slice of several GPUs, as no spec
// asks for one yet, and then says how many nanoseconds of each were used, and how many bytes are
// held.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "edge/broker/slice_store.h"

int main(int argc, char** argv) {
  using namespace tranche;
  std::vector<SliceLimit> limits;
  int i = 1;
  for (; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    const std::string text = argv[i];
    unsigned long long mib = 0;
    double percent = 0;
    const size_t equals = text.find('=');
    if (equals == std::string::npos ||
        std::sscanf(text.c_str() + equals, "=%llu:%lf", &mib, &percent) != 2)
      return 64;
    const ComputeShares shares{{percent / 100}, {percent / 100}, std::nullopt, 0};
    limits.push_back({text.substr(0, equals), MiB(mib), MiB(512), shares});
  }
  if (i + 1 >= argc) return 64;
  FileTables tables;
  const auto store = SliceStore::Create(tables, "/tmp", "in_slice", limits);
  if (!store) {
    std::fprintf(stderr, "%s\n", store.error().message.c_str());
    return 1;
  }
  setenv("TRANCHE_SLICE_FILE", (*store)->path().c_str(), 1);
  const pid_t child = fork();
  if (child == 0) {
    execvp(argv[i + 1], argv + i + 1);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  (*store)->Reap();
  for (size_t device = 0; device < limits.size(); ++device) {
    std::printf(
        "gpu %zu %lld %llu\n", device,
        static_cast<long long>((*store)->ComputeUsed(device).value_or(Duration(-1)).count()),
        static_cast<unsigned long long>((*store)->Used(device).value));
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
