#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "bench/limiter_control/tables.h"
#include "scene.h"

// What the limiter that programs load does to programs of every shape, each a process of its own,
// on a simulated GPU and a virtual clock: as Markdown. docs/benchmarks/limiter_control.md says what
// was seen.
//
//   limiter_compute_bench                                 all tables
//   limiter_compute_bench SHAPE[:REQUEST[:LIMIT[:WEIGHT]]]...   one scene, percent
namespace tranche::limiter_compute {
namespace {

using limiter_control::Percentile;
using limiter_control::PrintMarkdown;
using limiter_control::Table;

uint32_t Ppm(double percent) { return static_cast<uint32_t>(std::lround(percent * 1e4)); }

Who Of(const std::string& shape, double request = 100, double limit = 100) {
  return {shape, {Ppm(request), Ppm(limit), Ppm(request)}};
}

Played Run(const std::vector<Who>& who, Play play) {
  play.patience_s = 3600;
  Scene scene;
  Played played = scene.Run(who, play);
  if (!played.error.empty()) {
    std::fprintf(stderr, "limiter_compute_bench: %s\n", played.error.c_str());
    std::exit(1);
  }
  return played;
}

Play For(int seconds, const std::string& shim) {
  Play play;
  play.count = seconds;
  play.shim = shim;
  return play;
}

struct Worst {
  double value = 0;
  std::string of = "";
  void Higher(double seen, const std::string& whose) {
    if (of.empty() || seen > value) value = seen, of = whose;
  }
  void Lower(double seen, const std::string& whose) {
    if (of.empty() || seen < value) value = seen, of = whose;
  }
};

struct Seen {
  Worst error, giant_error, spread, work, cap, copy_cap, returns, spare;
};

bool IsAsync(const std::string& shape) { return sim::Shape(shape)->async; }

Table Ratios(const std::string& shim, Seen* seen) {
  Table table{"ratios",
              "Two of the same program: error of the ratio in points over 5 s, 1-s spread and work "
              "of the worst, and work without the limiter",
              {"program", "5/95", "10/90", "30/70", "50/50", "spread_1s", "least_work", "alone"},
              {}};
  for (const char* shape : {"g132", "b1024", "b64k", "tiny", "graph", "giant", "sync1", "sync50",
                            "decode", "m16", "mix", "vary", "liar", "fresh"}) {
    std::vector<Table::Cell> row = {std::string(shape)};
    double spread = 0, work = 100;
    for (const double percent : {5.0, 10.0, 30.0, 50.0}) {
      const std::vector<Who> who = {Of(shape, percent), Of(shape, 100 - percent)};
      const Shares shares = Run(who, For(5, shim)).shares();
      const std::string name = std::string(shape) + " " +
                               std::to_string(static_cast<int>(percent)) + "/" +
                               std::to_string(100 - static_cast<int>(percent));
      row.push_back(shares.RatioError(who));
      const bool giant = shape == std::string("giant");
      (giant ? seen->giant_error : seen->error).Higher(shares.RatioError(who), name);
      if (!giant) seen->spread.Higher(shares.Spread(), name);
      if (IsAsync(shape)) seen->work.Lower(shares.Total(), name);
      spread = std::max(spread, shares.Spread());
      work = std::min(work, shares.Total());
    }
    row.push_back(spread);
    row.push_back(work);
    Play free = For(2, shim);
    free.free = true;
    row.push_back(Run({Of(shape)}, free).shares().Total());
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table Different(const std::string& shim) {
  Table table{
      "different",
      "Different programs: what each got in percent of the GPU, error of the ratio where all "
      "can use their share, work, and work without the limiter",
      {"programs", "wanted", "got", "error", "spread_1s", "work", "work_without"},
      {}};
  const std::vector<std::vector<Who>> scenes = {
      {Of("g132", 30), Of("b1024", 70)},
      {Of("graph", 10), Of("g132", 90)},
      {Of("tiny", 5), Of("graph", 95)},
      {Of("sync1", 30), Of("m16", 70)},
      {Of("decode", 30), Of("b1024", 70)},
      {Of("decode", 70), Of("giant", 30)},
      {Of("train", 30), Of("g132", 70)},
      {Of("trainov", 30), Of("b1024", 70)},
      {Of("b1024", 10), Of("g132", 20), Of("graph", 30), Of("sync1", 40)},
      {Of("burst", 33), Of("g132", 33), Of("g132", 33)},
      {Of("g132", 25, 25), Of("g132", 75)},
  };
  for (const std::vector<Who>& who : scenes) {
    const Shares shares = Run(who, For(10, shim)).shares();
    Play free = For(5, shim);
    free.free = true;
    const double without = Run(who, free).shares().Total();
    std::string names, wanted, got;
    for (uint32_t i = 0; i < who.size(); ++i) {
      char part[32];
      names += (i > 0 ? " + " : "") + who[i].shape;
      std::snprintf(part, sizeof(part), "%s%g", i > 0 ? " / " : "", who[i].share.request / 1e4);
      wanted += part;
      std::snprintf(part, sizeof(part), "%s%.1f", i > 0 ? " / " : "", shares.Of(i));
      got += part;
    }
    if (who[0].share.limit < 1000000) wanted += ", the first no more";
    table.rows.push_back(
        {names, wanted, got, shares.RatioError(who), shares.Spread(), shares.Total(), without});
  }
  return table;
}

Table Caps(const std::string& shim, Seen* seen) {
  Table table{"caps",
              "One program alone under a limit, percent of the GPU over 5 s (giant: 20 s)",
              {"program", "5", "25", "50", "75", "95", "largest_error"},
              {}};
  for (const char* shape : {"g132", "b1024", "b64k", "tiny", "graph", "giant", "sync1", "sync50",
                            "decode", "m16", "mix", "vary", "liar", "fresh", "train", "trainov"}) {
    std::vector<Table::Cell> row = {std::string(shape)};
    Play free = For(2, shim);
    free.free = true;
    const double most = Run({Of(shape)}, free).shares().Total();
    double largest = 0;
    for (const double limit : {5.0, 25.0, 50.0, 75.0, 95.0}) {
      const double got =
          Run({Of(shape, 100, limit)}, For(shape == std::string("giant") ? 20 : 5, shim))
              .shares()
              .Of(0);
      row.push_back(got);
      // What it cannot use is no error.
      if (limit > most - 5) continue;
      const double error = std::abs(got - limit);
      largest = std::max(largest, error);
      (shape == std::string("train") ? seen->copy_cap : seen->cap)
          .Higher(error, std::string(shape) + " at " + std::to_string(static_cast<int>(limit)));
    }
    row.push_back(largest);
    table.rows.push_back(std::move(row));
  }
  return table;
}

Table Returns(const std::string& shim, Seen* seen) {
  Table table{
      "returns",
      "Requests beside a neighbour: from the wish to launch until the first kernel runs",
      {"requests", "neighbour", "p50_us", "p99_us", "without_p99_us", "neighbour_keeps", "work"},
      {}};
  const std::pair<const char*, const char*> rows[] = {
      {"infer", "g132"}, {"infer", "b1024"}, {"infer", "graph"}, {"rare", "g132"},
      {"rare", "b1024"}, {"probe", "g132"},  {"probe", "b1024"}};
  for (const auto& [owner, neighbour] : rows) {
    const double part = owner == std::string("probe") ? 20 : 50;
    const std::vector<Who> who = {Of(owner, part), Of(neighbour, 100 - part)};
    const int seconds = owner == std::string("rare") ? 40 : 10;
    const Played played = Run(who, For(seconds, shim));
    Play free = For(seconds, shim);
    free.free = true;
    const double without = Percentile(Run(who, free).starts[0], .99) / 1e3;
    const double p99 = Percentile(played.starts[0], .99) / 1e3;
    const Shares shares = played.shares();
    table.rows.push_back({std::string(owner), std::string(neighbour),
                          Percentile(played.starts[0], .5) / 1e3, p99, without, shares.Of(1),
                          shares.Total()});
    const std::string name = std::string(owner) + " + " + neighbour;
    if (neighbour != std::string("graph")) seen->returns.Higher(p99, name);
    if (owner != std::string("probe")) seen->spare.Lower(shares.Total(), name);
  }
  return table;
}

Table Wishes(const Seen& seen) {
  Table table{"wishes", "Wishes", {"what", "wish", "seen", "worst_of", "met"}, {}};
  const auto row = [&](const char* what, const char* wish, const Worst& worst, bool met) {
    table.rows.push_back({std::string(what), std::string(wish), worst.value, worst.of,
                          std::string(met ? "yes" : "NO")});
  };
  row("ratio error over 5 s, kernels of 20 ms and less, points", "<= 0.5", seen.error,
      seen.error.value <= 0.5);
  row("the same, kernels of 200 ms: longest kernel / window, points", "<= 4", seen.giant_error,
      seen.giant_error.value <= 4);
  row("1-second spread, kernels under 200 ms, points", "<= 2", seen.spread, seen.spread.value <= 2);
  row("total work of async programs, percent of the GPU", ">= 98", seen.work,
      seen.work.value >= 98);
  row("limit of one alone, points", "<= 0.5", seen.cap, seen.cap.value <= 0.5);
  row("the same, copies in its streams, points", "<= 2", seen.copy_cap, seen.copy_cap.value <= 2);
  row("returning owner beside kernels of 1 ms and less, p99 us", "<= 2500", seen.returns,
      seen.returns.value <= 2500);
  row("spare time of an idle owner that is used, percent", ">= 99", seen.spare,
      seen.spare.value >= 99);
  return table;
}

Who Parse(const std::string& text) {
  double request = 100, limit = 100, weight = -1;
  const size_t colon = text.find(':');
  if (colon != std::string::npos)
    std::sscanf(text.c_str() + colon + 1, "%lf:%lf:%lf", &request, &limit, &weight);
  Who who = Of(text.substr(0, colon), request, limit);
  if (weight >= 0) who.share.weight = Ppm(weight);
  return who;
}

void One(const std::vector<std::string>& tenants, const Play& play) {
  std::vector<Who> who;
  for (const std::string& text : tenants) who.push_back(Parse(text));
  const Played played = Run(who, play);
  for (const std::vector<double>& sample : played.served) {
    for (const double ns : sample) std::printf("%9.4f", ns / play.every_ms / 1e4);
    std::printf("\n");
  }
  const Shares shares = played.shares();
  for (uint32_t i = 0; i < who.size(); ++i) {
    std::printf("%s %.3f", who[i].shape.c_str(), shares.Of(i));
    if (!played.starts[i].empty())
      std::printf(", %zu requests, start p50 %.0f p99 %.0f us", played.starts[i].size(),
                  Percentile(played.starts[i], .5) / 1e3, Percentile(played.starts[i], .99) / 1e3);
    std::printf("\n");
  }
  std::printf("total %.3f, error of ratio %.3f, spread %.3f\n", shares.Total(),
              shares.RatioError(who), shares.Spread());
}

int Main(int argc, char** argv) {
  std::vector<std::string> tenants;
  Play play;
  CLI::App app("Programs under the limiter that they load, on a simulated GPU and a virtual clock");
  app.add_option("tenants", tenants, "One scene: SHAPE[:REQUEST[:LIMIT[:WEIGHT]]], percent");
  app.add_option("--count", play.count, "Samples")->check(CLI::Range(1, 10000));
  app.add_option("--every", play.every_ms, "Milliseconds of a sample")->check(CLI::Range(1, 60000));
  app.add_option("--warm-up", play.warm_up_ms, "Milliseconds")->check(CLI::Range(0, 600000));
  app.add_option("--seed", play.seed);
  app.add_option("--shim", play.shim, "A folder with another build of the limiter's libcuda.so.1");
  app.add_flag("--free", play.free, "Without the limiter");
  CLI11_PARSE(app, argc, argv);
  if (!tenants.empty()) {
    One(tenants, play);
    return 0;
  }
  Seen seen;
  const Table tables[] = {Ratios(play.shim, &seen), Different(play.shim), Caps(play.shim, &seen),
                          Returns(play.shim, &seen)};
  PrintMarkdown(stdout, Wishes(seen));
  for (const Table& table : tables) PrintMarkdown(stdout, table);
  return 0;
}

}  // namespace
}  // namespace tranche::limiter_compute

int main(int argc, char** argv) { return tranche::limiter_compute::Main(argc, argv); }
