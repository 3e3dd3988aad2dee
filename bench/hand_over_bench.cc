#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/json.h"
#include "edge/broker/gpu_arbiter.h"
#include "limiter/gpu_gate.h"
#include "limiter/libc.h"
#include "limiter/slice_file.h"
#include "limiter/turnstile.h"

// How long the GPU waits between two tenants: from when the one reports its last unit complete
// until the other may launch. Within a party the holder wakes the next itself; across parties the
// broker hands the turn over. Each tenant is a process's worth of the shim: its own mapping and
// slot.
//
//   hand_over_bench [HAND-OVERS]
namespace tranche::bench {
namespace {

constexpr const char* kGpu = "GPU-96727658-d5ec-4029-bed1-fba0cd5f30cf";
constexpr const char* kFile = "/gpu-96727658d5ec4029bed1fba0cd5f30cf";
// So that each turn ends with its first unit.
constexpr int64_t kUnit = 6 * limiter::kMillisecond;

struct Seen {
  std::atomic<int> last{-1};
  std::atomic<int64_t> left_at{0};
  std::vector<int64_t> gaps;  // written by whoever has the turn
};

struct Tenant {
  std::string table, gate;
  uint32_t line = 0;
};

void Work(const Tenant& tenant, int self, const std::atomic<bool>& done, Seen* seen) {
  uint32_t slot = 0;
  TrancheSlice* mapped = limiter::SliceFile::Join(tenant.table.c_str(), &slot);
  if (mapped == nullptr) std::exit(1);
  limiter::Turnstile turnstile(mapped, 0, slot, tenant.table.c_str(), tenant.line,
                               limiter::GpuGate::Map(tenant.gate.c_str()));
  while (!done) {
    turnstile.Enter(kUnit);
    const int64_t now = limiter::libc::Now();
    if (seen->last != self && seen->last != -1) seen->gaps.push_back(now - seen->left_at);
    seen->last = self;
    // A unit's time passes asleep, as it does for a program that waits for its kernel.
    usleep(kUnit / 1000);
    seen->left_at = limiter::libc::Now();
    turnstile.Leave({kUnit});
  }
}

Json Measure(const std::vector<Tenant>& tenants, size_t count) {
  Seen seen;
  seen.gaps.reserve(count * 2);
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (size_t i = 0; i < tenants.size(); ++i)
    threads.emplace_back([&, i] { Work(tenants[i], static_cast<int>(i), done, &seen); });
  usleep(static_cast<useconds_t>(count * static_cast<size_t>(kUnit / 1000)));
  done = true;
  for (std::thread& thread : threads) thread.join();
  std::sort(seen.gaps.begin(), seen.gaps.end());
  const auto at = [&](double part) -> Json {
    if (seen.gaps.empty()) return nullptr;
    return seen.gaps[static_cast<size_t>(part * static_cast<double>(seen.gaps.size() - 1))];
  };
  return {{"hand_overs", seen.gaps.size()}, {"p50_ns", at(0.5)}, {"p99_ns", at(0.99)}};
}

int Main(size_t count) {
  char pattern[] = "/tmp/hand_over_bench.XXXXXX";
  if (mkdtemp(pattern) == nullptr) return 1;
  const std::string folder = pattern;
  FileTables host;
  Json json = {{"format_version", "1.0"}};
  {
    auto table = *TurnsTable::Open(host, folder + "/one", kGpu, geteuid());
    std::vector<Tenant> tenants;
    for (int i = 0; i < 2; ++i)
      tenants.push_back(
          {folder + "/one" + kFile + ".turns", "", *table->AddLine({{0.5}, {1}, {}, 0})});
    json["within_a_party"] = Measure(tenants, count);
  }
  {
    std::vector<std::unique_ptr<TurnsTable>> tables;
    std::vector<Tenant> tenants;
    GpuArbiter arbiter;
    for (const std::string party : {"a", "b"}) {
      const std::string in = folder + "/" + party;
      tables.push_back(*TurnsTable::Open(host, in, kGpu, geteuid()));
      const uint32_t line = *tables.back()->AddLine({{0.5}, {1}, {}, 0});
      auto gate = GateFile::Make(host, in + kFile + ".gate", geteuid());
      if (!gate || !arbiter.Add(party, *tables.back(), std::move(*gate))) return 1;
      arbiter.Weigh(party, {0.5});
      tenants.push_back({in + kFile + ".turns", in + kFile + ".gate", line});
    }
    json["across_parties"] = Measure(tenants, count);
    const HandOvers own = arbiter.hand_overs();
    json["across_parties"]["from_closed_to_open_mean_ns"] =
        own.count == 0 ? Json() : Json(own.sum.count() / static_cast<int64_t>(own.count));
    arbiter.Remove("a");
    arbiter.Remove("b");
  }
  std::filesystem::remove_all(folder);
  std::printf("%s\n", PrintJson(json).c_str());
  return 0;
}

}  // namespace
}  // namespace tranche::bench

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 500;
  if (count < 1) {
    std::fprintf(stderr, "usage: hand_over_bench [HAND-OVERS]\n");
    return 64;
  }
  return tranche::bench::Main(static_cast<size_t>(count));
}
