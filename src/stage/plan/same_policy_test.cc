#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "decide/geometry/mig_geometry.h"
#include "decide/placement/scheduler.h"
#include "decide/placement/tranche_policy.h"
#include "stage/plan/planner.h"
#include "stage/plan/testing.h"
#include "stage/simulate/mig_fleet.h"

// One policy decides where an instance starts, in `plan` and in `simulate`.
namespace tranche::planning {
namespace {

constexpr const char* kModel = "H100-SXM5-80GB";

struct Situation {
  std::vector<PlacedProfile> there;    // on the only GPU
  std::map<std::string, double> seen;  // what was asked for before
  std::string wanted;
};

const MigGeometry& Geometry() {
  static const MigGeometry geometry =
      *MigGeometry::Make((*TestCatalog().FindGpu(kModel))->mig_profiles);
  return geometry;
}

std::optional<int> StartInPlan(const Situation& situation) {
  Machine machine = MachineWith({kModel});
  machine.gpus[0].mig_mode = MigMode{true, true};
  for (const PlacedProfile& one : situation.there) {
    PutInstance(machine, 0, Geometry().profile(one.profile).name, one.placement.start);
  }
  Workload workload = Hardware("new", GiB(1));
  workload.profile = situation.wanted;
  const Plan plan =
      MakePlan(machine, SpecOf({workload}), {}, TestCatalog(), {.slices_seen = situation.seen});
  if (!plan.feasible()) return std::nullopt;
  return plan.assignments.front().slice.placement->start;
}

std::optional<int> StartInSimulation(const Situation& situation) {
  simulate::Fleet fleet;
  fleet.nodes = {{64000, 262144, 1, 0}};
  fleet.models = {kModel};
  simulate::AddMig(TestCatalog(), &fleet);
  const placement::MigKind& kind = fleet.kinds[0];
  const auto request_of = [&](const std::string& profile) {
    const auto name = std::find(fleet.mig_profiles.begin(), fleet.mig_profiles.end(), profile);
    placement::Request request{0, 0, 1, 0, 1};
    request.mig = static_cast<int>(name - fleet.mig_profiles.begin());
    request.gpu_milli =
        1000 * kind.profiles[static_cast<size_t>(kind.Find(request.mig))].compute / kind.compute;
    return request;
  };
  placement::Cluster cluster(fleet.nodes, fleet.kinds);
  for (const PlacedProfile& one : situation.there) {
    const placement::Request request = request_of(Geometry().profile(one.profile).name);
    for (size_t place = 0; place < kind.places.size(); ++place) {
      const auto& at = kind.places[place];
      if (kind.profiles[static_cast<size_t>(at.profile)].id != request.mig ||
          at.slots != SlotsOf(one.placement)) {
        continue;
      }
      cluster.Add(0, request, 1, static_cast<int>(place));
    }
  }
  placement::TrancheOptions options;
  options.learns = false;
  for (const auto& [profile, weight] : situation.seen) {
    options.known.push_back({request_of(profile), weight});
  }
  options.known.push_back({request_of(situation.wanted), 1});
  auto policy = placement::MakeTranchePolicy(cluster, options);
  placement::Scheduler scheduler(std::move(cluster), std::move(policy));
  const auto placed = scheduler.Place(scheduler.Intern(request_of(situation.wanted)));
  if (!placed) return std::nullopt;
  return std::countr_zero(kind.places[static_cast<size_t>(placed->place)].slots);
}

Situation RandomSituation(std::mt19937_64& random) {
  const std::vector<std::string> profiles = {"1g.10gb", "1g.20gb", "2g.20gb",
                                             "3g.40gb", "4g.40gb", "7g.80gb"};
  Situation situation;
  for (const std::string& profile : profiles) {
    if (random() % 2 == 0) situation.seen[profile] = static_cast<double>(1 + random() % 40);
  }
  Occupancy taken;
  for (uint64_t n = random() % 4; n > 0; --n) {
    const int profile = *Geometry().Find(profiles[random() % 4]);
    const auto& places = Geometry().profile(profile).placements;
    const PlacedProfile one{profile, places[random() % places.size()]};
    if (!Geometry().Fits(taken, profile, one.placement)) continue;
    Geometry().Add(one, &taken);
    situation.there.push_back(one);
  }
  situation.wanted = profiles[random() % 5];
  return situation;
}

TEST(SamePolicy, PlanAndSimulateChooseTheSameStart) {
  std::mt19937_64 random(7);
  int fits = 0;
  int elsewhere = 0;  // than without having seen anything
  for (int i = 0; i < 120; ++i) {
    const Situation situation = RandomSituation(random);
    const std::optional<int> planned = StartInPlan(situation);
    ASSERT_EQ(planned, StartInSimulation(situation)) << situation.wanted << ", case " << i;
    if (!planned) continue;
    ++fits;
    elsewhere += StartInPlan({situation.there, {}, situation.wanted}) != planned ? 1 : 0;
  }
  EXPECT_GT(fits, 60);
  EXPECT_GT(elsewhere, 3);
}

TEST(SamePolicy, WhatWasSeenDecidesWhereAnInstanceStarts) {
  EXPECT_EQ(StartInPlan({{}, {}, "1g.10gb"}), 6) << "so that a 4g stays possible";
  // Where halves are what comes, in the one that is the first.
  EXPECT_EQ(StartInPlan({{}, {{"3g.40gb", 20}}, "1g.10gb"}), 0) << "the second half stays whole";
  // What is asked for beside it counts as well.
  Machine machine = MachineWith({kModel});
  Workload small = Hardware("small", GiB(9)), half = Hardware("half", GiB(30));
  const Plan plan = MakePlan(machine, SpecOf({small, half}), {}, TestCatalog(), {});
  ASSERT_TRUE(plan.feasible());
  EXPECT_EQ(plan.FindAssignment("half", 0)->slice.placement->start, 4);
  EXPECT_LT(plan.FindAssignment("small", 0)->slice.placement->start, 4);
}

}  // namespace
}  // namespace tranche::planning
