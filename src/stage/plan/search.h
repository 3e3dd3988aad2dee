#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "decide/geometry/packing.h"
#include "decide/placement/share_value.h"
#include "decide/placement/slice_value.h"
#include "stage/plan/candidates.h"

namespace tranche::planning {

// The combinatorial heart: which item goes into which bin, and how. Knows replicas and GPUs only as
// items and bins, so that a brute force can check it.

// Items that may stand in for each other. Options to share an instance (Option::in_instance) are
// left out by Search, but for bins that are such an instance.
struct ItemClass {
  int gpus = 1;  // whole bins of one type; with more than one only exclusive options count
  int team = 0;  // who may share a fault domain: the same team, or only trusted ones
  bool trusted = false;
  bool preemptible = false;                    // may go on a spot bin
  std::map<int, std::vector<Option>> options;  // by bin type, the least of the GPU first
};

// How a bin is used. Undivided and shared bins are outside MIG.
enum class BinUse { kEmpty, kMig, kWhole, kShared };

constexpr int kAnyClients = 1 << 30;

// What those have together who share an instance.
struct SharedRoom {
  uint64_t memory = 0;
  double compute = 0;  // of the GPU's SMs
  int clients = 0;
};

struct Bin {
  int type = 0;  // bins of one type are interchangeable, in what they offer and in what is in them
  double price = 1;  // of using it at all
  // With nobody on it but the preemptible; it must be empty then. Infinite: it cannot be had so.
  double spot_price = std::numeric_limits<double>::infinity();
  double watts = 0;  // of using it at all
  bool mig_on = false;
  const MigGeometry* geometry = nullptr;  // with MIG options
  Occupancy taken;                        // by instances that stay; then only MIG options go here
  // Instances that nobody holds any more, by profile, and where: one that nobody takes over goes.
  std::array<uint8_t, Occupancy::kMaxProfiles> reusable{};
  std::vector<PlacedProfile> left_over;
  uint64_t memory = 0;  // for shared use
  // What is in it already and stays.
  BinUse use = BinUse::kEmpty;
  Mechanism shared_by = Mechanism::kTimeSlicing;
  uint64_t memory_used = 0;
  double compute_used = 0;
  int tenants = 0;
  TimeSlice time_slice = TimeSlice::kDefault;  // of its tenants, with kTimeSlicing
  int vgpu_group = 0;                          // likewise, with kVgpu
  int team = -1;                               // of all tenants; -1: none, -2: several
  bool all_trusted = true;
  int mps_clients = kAnyClients;  // that it serves at most
  std::vector<SharedRoom> rooms;  // of an instance of each profile of `geometry`
  // An instance that is shared already, as a bin of its own: which, and what part of its GPU it is.
  // Its compute_used is what is not its own or is used.
  int instance_of = -1;  // a view; -1: this is a GPU
  int instance_profile = -1;
  MigPlacement placement;
  double memory_part = 1;

  SharedRoom RoomOf(int profile) const {
    return rooms.empty() ? SharedRoom{} : rooms[static_cast<size_t>(profile)];
  }
};

struct SearchProblem {
  std::vector<Bin> bins;
  std::vector<ItemClass> classes;
  std::vector<int> items;  // the class of each
  // By bin type, what parts of such a bin are asked for on the whole: of bins that cost the same, a
  // part is taken where most room is kept for their like. Where absent, of the fullest.
  std::map<int, placement::ShareValue> share_values;
  // The same for instances of MIG, which profiles of such a bin are asked for. Where absent, so
  // that the largest profiles stay possible.
  std::map<int, std::shared_ptr<const placement::SliceValue>> slice_values;
};

// How PackProfiles is to choose between places for `wanted` on such a bin.
PackingChoice ChoiceOf(const placement::SliceValue* value, const Occupancy& taken,
                       const std::vector<WantedInstance>& wanted,
                       std::vector<PlacedProfile> left_over);

struct Choice {
  std::vector<int> bins;  // one, or as many as the class asks; none: the item is left out
  int option = 0;         // of the class, for the type of the first bin
  int instance = -1;      // with an option to share an instance: those of one number in a bin do
};

struct SearchAnswer {
  std::vector<Choice> choices;  // of each item
  double price = 0;             // of the bins used, those used before included
  double lower_bound = 0;       // no answer is cheaper than this
  // Proven: no answer is cheaper. False when the search gave up looking for one.
  bool exact = true;
};

struct SearchLimits {
  int64_t nodes = 200000;      // until a first answer, or the proof that there is none
  int64_t proving = 50000;     // more, to find a cheaper one or prove that there is none
  int64_t polishing = 1000;    // more, once the price is proven, to change and take less
  bool first_will_do = false;  // only whether it fits is of interest
};

enum class SearchOutcome { kFound, kImpossible, kGaveUp };

// Finds the assignment that costs least; of those the one that changes least of what is there (MIG
// switched off, instances that nobody takes over); then the one that fragments least: takes the
// least of the GPUs, and loses the least of what the policy values of the rest; then the one that
// has the least to set up; then the one that draws the least power. Deterministic.
SearchOutcome Search(const SearchProblem& problem, const SearchLimits& limits,
                     SearchAnswer* answer);

}  // namespace tranche::planning
