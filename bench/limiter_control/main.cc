#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>

#include "bench/limiter_control/rivals.h"
#include "bench/limiter_control/tables.h"
#include "test/limiter_control/measure.h"
#include "test/limiter_control/mps_controller.h"

// What the compute policy does to programs of every shape, on simulated hardware and a virtual
// clock, beside no limiter and models of other controllers. docs/benchmarks/limiter_control.md says
// what was seen.

namespace tranche::limiter_control {
namespace {

enum class Kind { kNone, kHami, kPid, kTurns, kMps };
constexpr Kind kAll[] = {Kind::kNone, Kind::kHami, Kind::kPid, Kind::kTurns};

const char* Name(Kind kind) {
  switch (kind) {
    case Kind::kNone:
      return "none";
    case Kind::kHami:
      return "HAMi model";
    case Kind::kPid:
      return "PID model";
    case Kind::kTurns:
      return "turns";
    case Kind::kMps:
      return "mps shares";
  }
  return "";
}

struct Bench {
  int seconds = 20;
  int seeds = 3;
  std::vector<Table> tables;
};

// A rival knows limits alone: a weight is given to it as one.
std::vector<double> AsLimits(const std::vector<Who>& who) {
  std::vector<double> limits;
  for (const Who& w : who)
    limits.push_back(who.size() == 1 ? w.share.limit / 1e4
                                     : std::min(w.share.limit, w.share.weight) / 1e4);
  return limits;
}

std::unique_ptr<sim::Controller> Make(Kind kind, const std::vector<Who>& who,
                                      const TurnsOptions& options = {}) {
  switch (kind) {
    case Kind::kNone:
      return std::make_unique<sim::NoController>();
    case Kind::kHami:
      return std::make_unique<HamiController>(AsLimits(who));
    case Kind::kPid:
      return std::make_unique<PidController>(AsLimits(who));
    case Kind::kTurns:
      return std::make_unique<TurnsController>(SharesOf(who), options);
    case Kind::kMps:
      return std::make_unique<MpsController>(SharesOf(who), 132);
  }
  return nullptr;
}

// What steers by utilisation needs a minute before it does what it will do.
int WarmUp(Kind kind) { return kind == Kind::kHami || kind == Kind::kPid ? 60 : 2; }

struct Run {
  Run(Kind kind, const std::vector<Who>& who, int seconds, const Conditions& conditions = {},
      const TurnsOptions& options = {}, int warm_up = 0)
      : controller(Make(kind, who, options)),
        world(Programs(who), conditions.gpu, conditions.host, conditions.seed, controller.get()),
        shares(Measure(world, std::max(warm_up, WarmUp(kind)), seconds)) {}

  std::unique_ptr<sim::Controller> controller;
  sim::World world;
  Shares shares;
};

std::vector<Who> Pair(const std::string& a, const std::string& b, double percent) {
  const auto weight = static_cast<uint32_t>(std::lround(percent * 1e4));
  return {{a, {weight}}, {b, {1000000 - weight}}};
}

double Us(double ns) { return ns / 1000; }

// Those that always have something for the GPU to do, alone or in turns.
const std::vector<std::string>& Saturating() {
  static const std::vector<std::string> names = {"g132",  "b1024", "b64k",   "tiny",   "graph",
                                                 "giant", "sync1", "sync50", "decode", "m16",
                                                 "mix",   "vary",  "liar",   "fresh"};
  return names;
}

void SharesOfAll(Bench& bench) {
  Table table{"pairs_30_70",
              "Two of the same program, 30/70: what each got, worst 5 s, 1-s spread, total",
              {"program", "controller", "first", "second", "worst_5s", "spread_1s", "total"},
              {}};
  for (const std::string& shape : sim::ShapeNames()) {
    if (shape == "infer" || shape == "burst" || shape == "probe") continue;
    for (const Kind kind : kAll) {
      const Run run(kind, Pair(shape, shape, 30), bench.seconds);
      const double e5 = std::max(run.shares.WorstFive(0, 30), run.shares.WorstFive(1, 70));
      table.rows.push_back({shape, std::string(Name(kind)), run.shares.Of(0), run.shares.Of(1), e5,
                            run.shares.Spread(), run.shares.Total()});
    }
  }
  bench.tables.push_back(std::move(table));
}

struct Ratios {
  double error = 0;  // over any 5 s of any seed
  double spread = 0;
  double total = 100;
};

Ratios WorstOf(const Bench& bench, const std::vector<Who>& who, const TurnsOptions& options = {}) {
  Ratios worst;
  for (int seed = 1; seed <= bench.seeds; ++seed) {
    Conditions conditions;
    conditions.seed = static_cast<uint32_t>(seed);
    TurnsController controller(SharesOf(who), options);
    sim::World world(Programs(who), {}, {}, conditions.seed, &controller);
    world.RunUntil(2'000'000'000);
    for (int window = 0; window < bench.seconds / 5; ++window) {
      const Shares shares = Measure(world, 0, 5);
      worst.error = std::max(worst.error, shares.RatioError(who));
      worst.spread = std::max(worst.spread, shares.Spread());
      worst.total = std::min(worst.total, shares.Total());
    }
  }
  return worst;
}

void RatioErrors(Bench& bench) {
  for (const int64_t lease : {limiter::kMarkerEvery, int64_t{0}}) {
    Table table{
        lease > 0 ? "ratio_errors_leases" : "ratio_errors_units",
        std::string("Turns, worst 5 s of all seeds: error of the ratio in points, ") +
            (lease > 0 ? "threads asking for 500 us at a time" : "threads asking for each kernel"),
        {"program", "5/95", "10/90", "30/70", "50/50", "spread_1s", "least_total", "alone"},
        {}};
    for (const std::string& shape : Saturating()) {
      Ratios worst[4], all;
      const double percents[] = {5, 10, 30, 50};
      for (int i = 0; i < 4; ++i) {
        worst[i] = WorstOf(bench, Pair(shape, shape, percents[i]), {.lease = lease});
        all.spread = std::max(all.spread, worst[i].spread);
        all.total = std::min(all.total, worst[i].total);
      }
      const Run alone(Kind::kNone, {{shape, {}}}, 5);
      table.rows.push_back({shape, worst[0].error, worst[1].error, worst[2].error, worst[3].error,
                            all.spread, all.total, alone.shares.Total()});
    }
    bench.tables.push_back(std::move(table));
  }
}

void Trainers(Bench& bench) {
  Table table{"trainers",
              "Turns, programs whose host pauses (they cannot use every share): what each got",
              {"first", "second", "wanted", "got_first", "got_second", "total", "none_total",
               "first_alone"},
              {}};
  const char* pairs[][2] = {{"train", "train"},   {"trainov", "trainov"}, {"train", "g132"},
                            {"trainov", "g132"},  {"train", "giant"},     {"train", "liar"},
                            {"decode", "giant"},  {"decode", "b1024"},    {"train", "infer"},
                            {"trainov", "infer"}, {"trainov", "probe"}};
  for (const auto& pair : pairs) {
    const Run alone(Kind::kNone, {{pair[0], {}}}, 10);
    const Run none(Kind::kNone, Pair(pair[0], pair[1], 50), bench.seconds);
    for (const double percent : {30.0, 50.0, 70.0}) {
      const Run run(Kind::kTurns, Pair(pair[0], pair[1], percent), 2 * bench.seconds);
      table.rows.push_back({std::string(pair[0]), std::string(pair[1]),
                            std::to_string(int(percent)) + "/" + std::to_string(100 - int(percent)),
                            run.shares.Of(0), run.shares.Of(1), run.shares.Total(),
                            none.shares.Total(), alone.shares.Of(0)});
    }
  }
  bench.tables.push_back(std::move(table));
}

void Caps(Bench& bench) {
  Table table{"caps",
              "One program alone under a limit: what it got",
              {"program", "controller", "10", "25", "50", "75", "90"},
              {}};
  Table errors{"cap_errors",
               "Turns, one program alone, limits 5..95, all seeds: largest error in points, 1-s "
               "spread",
               {"program", "error", "spread_1s", "unlimited"},
               {}};
  for (const std::string& shape : sim::ShapeNames()) {
    if (shape == "burst" || shape == "infer" || shape == "probe") continue;
    for (const Kind kind : {Kind::kHami, Kind::kPid, Kind::kTurns}) {
      std::vector<Table::Cell> row = {shape, std::string(Name(kind))};
      for (const uint32_t limit : {10u, 25u, 50u, 75u, 90u}) {
        const Run run(kind, {{shape, {.limit = limit * 10000}}}, bench.seconds);
        row.push_back(run.shares.Of(0));
      }
      table.rows.push_back(std::move(row));
    }
    const Run free(Kind::kTurns, {{shape, {}}}, 5);
    double error = 0, spread = 0;
    for (uint32_t limit = 5; limit <= 95; limit += 10)
      for (int seed = 1; seed <= bench.seeds; ++seed) {
        Conditions conditions;
        conditions.seed = static_cast<uint32_t>(seed);
        const Run run(Kind::kTurns, {{shape, {.limit = limit * 10000}}},
                      shape == "giant" ? 60 : bench.seconds, conditions, {},
                      shape == "giant" ? 8 : 2);
        const double wanted = std::min<double>(limit, free.shares.Of(0));
        error = std::max(error, std::abs(run.shares.Of(0) - wanted));
        spread = std::max(spread, run.shares.Spread());
      }
    errors.rows.push_back({shape, error, spread, free.shares.Of(0)});
  }
  bench.tables.push_back(std::move(table));
  bench.tables.push_back(std::move(errors));
}

void Latencies(Bench& bench) {
  Table table{"latency",
              "Requests beside a neighbour: microseconds until the first kernel runs, and until "
              "all is done; what the neighbour keeps",
              {"requests", "neighbour", "controller", "start_p50_us", "start_p99_us", "end_p50_us",
               "end_p99_us", "requests_per_s", "neighbour_percent", "total"},
              {}};
  const char* rows[][2] = {{"infer", "g132"},  {"infer", "b1024"}, {"infer", "graph"},
                           {"probe", "b1024"}, {"probe", "g132"},  {"probe", "graph"},
                           {"probe", "m16"}};
  for (const auto& row : rows)
    for (const Kind kind : kAll) {
      const Run run(kind, Pair(row[0], row[1], row[0] == std::string("probe") ? 20 : 50),
                    2 * bench.seconds);
      const auto& starts = run.world.starts(0);
      const auto& ends = run.world.ends(0);
      table.rows.push_back({std::string(row[0]), std::string(row[1]), std::string(Name(kind)),
                            Us(Percentile(starts, .5)), Us(Percentile(starts, .99)),
                            Us(Percentile(ends, .5)), Us(Percentile(ends, .99)),
                            double(ends.size()) / (2 * bench.seconds + WarmUp(kind)),
                            run.shares.Of(1), run.shares.Total()});
    }
  // Returns after long pauses, when the neighbour has launched far ahead.
  for (const Kind kind : kAll) {
    const std::vector<Who> who = Pair("infer", "g132", 50);
    std::vector<sim::Program> programs = Programs(who);
    programs[0].script[0].duration = 400'000'000;
    const auto controller = Make(kind, who);
    sim::World world(programs, {}, {}, 1, controller.get());
    const Shares shares = Measure(world, WarmUp(kind), 120);
    table.rows.push_back(
        {std::string("infer after 400 ms"), std::string("g132"), std::string(Name(kind)),
         Us(Percentile(world.starts(0), .5)), Us(Percentile(world.starts(0), .99)),
         Us(Percentile(world.ends(0), .5)), Us(Percentile(world.ends(0), .99)),
         double(world.ends(0).size()) / (120 + WarmUp(kind)), shares.Of(1), shares.Total()});
  }
  bench.tables.push_back(std::move(table));
}

void ManyTenants(Bench& bench) {
  Table table{"many",
              "2, 4 and 8 programs of different shapes, worst 5 s of all seeds",
              {"weights", "ratio_error", "spread_1s", "least_total", "none_error"},
              {}};
  const std::vector<std::string> shapes = {"g132", "b1024", "mix",  "vary",
                                           "m16",  "fresh", "b64k", "tiny"};
  const std::vector<std::vector<int>> sets = {{5, 95},
                                              {10, 20, 30, 40},
                                              {25, 25, 25, 25},
                                              {13, 13, 13, 13, 12, 12, 12, 12},
                                              {5, 5, 5, 5, 10, 15, 20, 35}};
  for (const std::vector<int>& set : sets) {
    std::vector<Who> who;
    std::string name;
    for (size_t i = 0; i < set.size(); ++i) {
      who.push_back({shapes[i], {static_cast<uint32_t>(set[i]) * 10000}});
      name += (i ? "/" : "") + std::to_string(set[i]);
    }
    const Ratios worst = WorstOf(bench, who);
    const Run none(Kind::kNone, who, 5);
    table.rows.push_back(
        {name, worst.error, worst.spread, worst.total, none.shares.RatioError(who)});
  }
  bench.tables.push_back(std::move(table));

  Table mixed{"mixed_pairs",
              "All ordered pairs of different saturating programs, 30/70: error of the ratio, "
              "total",
              {"controller", "median", "p90", "largest", "largest_of", "least_total"},
              {}};
  for (const Kind kind : kAll) {
    std::vector<std::pair<double, std::string>> errors;
    double total = 100;
    for (const std::string& a : Saturating())
      for (const std::string& b : Saturating()) {
        if (a == b) continue;
        const std::vector<Who> who = Pair(a, b, 30);
        const Run run(kind, who, bench.seconds);
        errors.push_back({run.shares.RatioError(who), a + " + " + b});
        if (sim::Shape(a)->async && sim::Shape(b)->async)
          total = std::min(total, run.shares.Total());
      }
    std::sort(errors.begin(), errors.end());
    mixed.rows.push_back({std::string(Name(kind)), errors[errors.size() / 2].first,
                          errors[errors.size() * 9 / 10].first, errors.back().first,
                          errors.back().second, total});
  }
  bench.tables.push_back(std::move(mixed));
}

void Adversaries(Bench& bench) {
  Table table{"adversaries",
              "A victim beside a program that takes what it can, 50/50",
              {"victim", "adversary", "controller", "victim_percent", "adversary_percent"},
              {}};
  for (const char* victim : {"sync1", "decode"})
    for (const char* adversary : {"m16", "giant", "liar", "tiny", "fresh", "vary", "persistent"})
      for (const Kind kind : {Kind::kNone, Kind::kHami, Kind::kTurns}) {
        const Run run(kind, Pair(victim, adversary, 50), bench.seconds);
        table.rows.push_back({std::string(victim), std::string(adversary), std::string(Name(kind)),
                              run.shares.Of(0), run.shares.Of(1)});
      }
  for (const double percent : {20.0, 50.0, 80.0}) {
    const Run run(Kind::kTurns, Pair("g132", "persistent", percent), bench.seconds);
    table.rows.push_back({"g132 of " + std::to_string(int(percent)), std::string("persistent"),
                          std::string("turns"), run.shares.Of(0), run.shares.Of(1)});
  }
  bench.tables.push_back(std::move(table));
}

void Arrangements(Bench& bench) {
  Table table{"arrangements",
              "Requests, limits, priorities (turns): wanted and got",
              {"arrangement", "wanted", "got", "total"},
              {}};
  const auto row = [&](const char* name, const char* wanted, const std::vector<Who>& who) {
    const Run run(Kind::kTurns, who, bench.seconds);
    std::string got;
    for (uint32_t i = 0; i < who.size(); ++i) {
      char text[32];
      std::snprintf(text, sizeof(text), "%s%.1f", i ? " / " : "", run.shares.Of(i));
      got += text;
    }
    table.rows.push_back({std::string(name), std::string(wanted), got, run.shares.Total()});
  };
  constexpr uint32_t kOne = 1000000;
  row("requests 20/30/50 %, weights equal", "20 / 30 / 50",
      {{"g132", {333333, kOne, 200000}},
       {"g132", {333333, kOne, 300000}},
       {"g132", {333333, kOne, 500000}}});
  row("request 40 % of weight 1, 30 % of weight 3", "40 / 60",
      {{"g132", {100000, kOne, 400000}}, {"g132", {300000, kOne, 300000}}});
  row("limit 25 % beside none", "25 / 75", {{"g132", {500000, 250000}}, {"g132", {500000}}});
  row("limits 30 and 40 %", "30 / 40", {{"g132", {500000, 300000}}, {"g132", {500000, 400000}}});
  row("request 50 %, uses 11 %, beside none", "all it wants / the rest",
      {{"infer", {500000, kOne, 500000}}, {"g132", {500000}}});
  row("priority 1 with request 30 %, beside request 50 %", "50 / 50",
      {{"g132", {300000, kOne, 300000, 1}}, {"g132", {500000, kOne, 500000}}});
  row("best effort beside 50 and 30 %", "1 / 62 / 37",
      {{"b1024", {10000}}, {"g132", {500000, kOne, 500000}}, {"mix", {300000, kOne, 300000}}});
  bench.tables.push_back(std::move(table));
}

void Sensitivity(Bench& bench) {
  Table table{"sensitivity",
              "Turns 30/70 under other assumptions about GPU and host",
              {"assumption", "g132_error", "g132_total", "b1024_error", "b1024_total",
               "sync50_cap50", "b1024_cap50", "return_p99_us"},
              {}};
  const auto row = [&](const char* name, const std::function<void(Conditions&)>& change,
                       const TurnsOptions& options = {}) {
    Conditions conditions;
    change(conditions);
    const std::vector<Who> g = Pair("g132", "g132", 30), b = Pair("b1024", "b1024", 30);
    const Run long_kernels(Kind::kTurns, g, bench.seconds, conditions, options);
    const Run short_kernels(Kind::kTurns, b, bench.seconds, conditions, options);
    const Run sync(Kind::kTurns, {{"sync50", {.limit = 500000}}}, bench.seconds, conditions,
                   options);
    const Run cap(Kind::kTurns, {{"b1024", {.limit = 500000}}}, bench.seconds, conditions, options);
    const Run infer(Kind::kTurns, Pair("infer", "g132", 50), bench.seconds, conditions, options);
    table.rows.push_back({std::string(name), long_kernels.shares.RatioError(g),
                          long_kernels.shares.Total(), short_kernels.shares.RatioError(b),
                          short_kernels.shares.Total(), sync.shares.Of(0), cap.shares.Of(0),
                          Us(Percentile(infer.world.starts(0), .99))});
  };
  row("as everywhere", [](Conditions&) {});
  row("threads wake after 50..300 us", [](Conditions& c) {
    c.host.wake_from = 50'000;
    c.host.wake_to = 300'000;
  });
  row("markers seen after 40 us", [](Conditions& c) {
    c.host.marker_seen_from = 40'000;
    c.host.marker_seen_to = 44'000;
  });
  row("markers seen after 100 us", [](Conditions& c) {
    c.host.marker_seen_from = 100'000;
    c.host.marker_seen_to = 104'000;
  });
  row("switches of 100/200 us", [](Conditions& c) {
    c.gpu.dry_switch = 100'000;
    c.gpu.preempting_switch = 200'000;
  });
  row("switches of 300/400 us", [](Conditions& c) {
    c.gpu.dry_switch = 300'000;
    c.gpu.preempting_switch = 400'000;
  });
  row("switches of 300/400 us, and known",
      [](Conditions& c) {
        c.gpu.dry_switch = 300'000;
        c.gpu.preempting_switch = 400'000;
      },
      {.switch_cost = 300'000});
  row("driver's quantum 0.5 ms", [](Conditions& c) { c.gpu.quantum = 500'000; });
  row("driver's quantum 6 ms", [](Conditions& c) { c.gpu.quantum = 6'000'000; });
  bench.tables.push_back(std::move(table));
}

void UnderMps(Bench& bench) {
  Table table{"mps",
              "All contexts at once (MPS), 30/70: percent of what each would do alone, and how "
              "busy the SMs are with it",
              {"first", "second", "controller", "got_first", "got_second", "of_gpu_first",
               "of_gpu_second", "spread_1s", "probe_p99_us"},
              {}};
  const char* pairs[][2] = {{"g132", "g132"},   {"half", "half"},   {"tiny", "g132"},
                            {"b64k", "g132"},   {"graph", "b1024"}, {"g132", "probe"},
                            {"sync1", "g132"},  {"mix", "g132"},    {"fresh", "b64k"},
                            {"decode", "b64k"}, {"b64k", "half"},   {"vary", "b1024"}};
  Conditions conditions;
  conditions.gpu.sharing = sim::Sharing::kConcurrent;
  for (const auto& pair : pairs)
    for (const Kind kind : {Kind::kNone, Kind::kTurns, Kind::kMps}) {
      const std::vector<Who> who = Pair(pair[0], pair[1], 30);
      const Run run(kind, who, bench.seconds, conditions);
      double part[2];
      for (uint32_t i = 0; i < 2; ++i) {
        // Of these programs each has one kind of grid.
        const std::vector<sim::Op> script = sim::Shape(pair[i])->script;
        const auto launch = std::find_if(script.begin(), script.end(), [](const sim::Op& op) {
          return op.act == sim::Act::kLaunch;
        });
        part[i] = run.shares.Of(i) * std::min(1.0, launch->blocks / 132.0);
      }
      table.rows.push_back({std::string(pair[0]), std::string(pair[1]), std::string(Name(kind)),
                            run.shares.Of(0), run.shares.Of(1), part[0], part[1],
                            run.shares.Spread(), Us(Percentile(run.world.ends(1), .99))});
    }
  bench.tables.push_back(std::move(table));
}

const Table& Find(const Bench& bench, const std::string& key) {
  return *std::find_if(bench.tables.begin(), bench.tables.end(),
                       [&](const Table& t) { return t.key == key; });
}
double Number(const Table& table, size_t row, const std::string& column) {
  const auto at = std::find(table.columns.begin(), table.columns.end(), column);
  return std::get<double>(table.rows[row][static_cast<size_t>(at - table.columns.begin())]);
}
std::string Word(const Table& table, size_t row, size_t column) {
  return std::get<std::string>(table.rows[row][column]);
}

// The wishes, and what of the tables above answers them.
void Targets(Bench& bench) {
  Table table{"targets", "Wishes", {"what", "wish", "seen", "of", "met"}, {}};
  const auto row = [&](const char* what, const char* wish, double seen, const std::string& of,
                       bool met) {
    table.rows.push_back(
        {std::string(what), std::string(wish), seen, of, std::string(met ? "yes" : "NO")});
  };
  // The 5 s of one unit of 200 ms.
  const double giant = 100 * 0.2 / 5;
  for (const char* key : {"ratio_errors_leases", "ratio_errors_units"}) {
    const Table& errors = Find(bench, key);
    double worst = 0, of_giant = 0, spread = 0, giant_spread = 0, total = 100;
    std::string worst_of, spread_of, total_of;
    for (size_t i = 0; i < errors.rows.size(); ++i) {
      const std::string shape = Word(errors, i, 0);
      for (const char* column : {"5/95", "10/90", "30/70", "50/50"}) {
        const double error = Number(errors, i, column);
        if (shape == "giant") {
          of_giant = std::max(of_giant, error);
        } else if (error > worst) {
          worst = error;
          worst_of = shape + " " + column;
        }
      }
      if (shape == "giant") {
        giant_spread = Number(errors, i, "spread_1s");
      } else if (Number(errors, i, "spread_1s") > spread) {
        spread = Number(errors, i, "spread_1s");
        spread_of = shape;
      }
      if (sim::Shape(shape)->async && Number(errors, i, "least_total") < total) {
        total = Number(errors, i, "least_total");
        total_of = shape;
      }
    }
    const std::string how = key == std::string("ratio_errors_leases") ? ", leases" : ", units";
    row("ratio error over 5 s, kernels under 20 ms, shares 5..95 %, points", "<= 0.5", worst,
        worst_of + how, worst <= 0.5);
    row("the same, kernels of 200 ms: longest kernel / window, points", "<= 4", of_giant,
        "giant" + how, of_giant <= giant);
    row("1-second spread, kernels under 200 ms, points", "<= 2", spread, spread_of + how,
        spread <= 2);
    row("the same, kernels of 200 ms (one is 20 points of a second)", "<= 2", giant_spread,
        "giant" + how, giant_spread <= 2);
    row("total work of async programs, percent of the GPU", ">= 98", total, total_of + how,
        total >= 98);
  }
  const Table& caps = Find(bench, "cap_errors");
  double cap = 0, copy = 0;
  std::string cap_of;
  for (size_t i = 0; i < caps.rows.size(); ++i) {
    const double error = Number(caps, i, "error");
    if (Word(caps, i, 0) == "train") {
      copy = error;
    } else if (error > cap) {
      cap = error;
      cap_of = Word(caps, i, 0);
    }
  }
  row("limit of one alone, points", "<= 0.5", cap, cap_of, cap <= 0.5);
  row("the same, copies in its streams, points", "<= 2", copy, "train", copy <= 2);
  const Table& latency = Find(bench, "latency");
  double p99 = 0, reclaimed = 100;
  std::string p99_of, reclaimed_of;
  for (size_t i = 0; i < latency.rows.size(); ++i) {
    const std::string neighbour = Word(latency, i, 1);
    if (Word(latency, i, 2) != "turns" || Word(latency, i, 0).rfind("infer", 0) != 0) continue;
    if (Number(latency, i, "total") < reclaimed) {
      reclaimed = Number(latency, i, "total");
      reclaimed_of = Word(latency, i, 0) + " + " + neighbour;
    }
    if (neighbour == "graph") continue;
    if (Number(latency, i, "start_p99_us") > p99) {
      p99 = Number(latency, i, "start_p99_us");
      p99_of = Word(latency, i, 0) + " + " + neighbour;
    }
  }
  row("returning owner beside kernels of 1 ms and less, p99 us", "<= 2500", p99, p99_of,
      p99 <= 2500);
  // What the limit of one leaves is the other's.
  const Run capped(Kind::kTurns, {{"g132", {500000, 250000}}, {"g132", {500000}}}, bench.seconds);
  const double used = 100 * capped.shares.Of(1) / (100 - capped.shares.Of(0));
  row("time that another's limit leaves that is used, percent", ">= 99", used,
      "g132 + g132 of 25 %", used >= 99);
  row("spare time of an idle owner that is used, percent", ">= 99", reclaimed, reclaimed_of,
      reclaimed >= 99);
  bench.tables.push_back(std::move(table));
}

int Main(int argc, char** argv) {
  Bench bench;
  std::string json;
  CLI::App app("Shares of a simulated GPU under the compute policy, beside other controllers");
  app.add_option("--seconds", bench.seconds, "Virtual seconds of each run")
      ->check(CLI::Range(5, 600));
  app.add_option("--seeds", bench.seeds, "Of the tables that say so")->check(CLI::Range(1, 100));
  app.add_option("--json", json, "Also write the tables there");
  CLI11_PARSE(app, argc, argv);
  for (const auto part : {SharesOfAll, RatioErrors, Trainers, Caps, Latencies, ManyTenants,
                          Adversaries, Arrangements, Sensitivity, UnderMps, Targets})
    part(bench);
  PrintMarkdown(stdout, bench.tables.back());
  for (size_t i = 0; i + 1 < bench.tables.size(); ++i) PrintMarkdown(stdout, bench.tables[i]);
  if (json.empty()) return 0;
  FILE* out = std::fopen(json.c_str(), "w");
  if (out == nullptr) {
    std::fprintf(stderr, "limiter_control: cannot write %s: %s\n", json.c_str(),
                 std::strerror(errno));
    return 1;
  }
  PrintJson(out, bench.tables, bench.seconds, bench.seeds);
  return std::fclose(out) == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tranche::limiter_control

int main(int argc, char** argv) { return tranche::limiter_control::Main(argc, argv); }
