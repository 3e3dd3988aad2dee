#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "decide/fleet/solver.h"
#include "stage/plan/candidates.h"
#include "stage/plan/search.h"

namespace tranche::planning {

// Where one replica goes.
struct Placed {
  size_t need = 0;        // index into the needs
  std::vector<int> gpus;  // indices into the views; several only for whole GPUs
  Option option;
  std::optional<MigPlacement> placement;    // of its instance, its own or a shared one
  const DeployedReplica* before = nullptr;  // what runs under that name now
  bool stays = false;                       // on the very slice that it holds now
  // Until an instance that is to be shared has its place: those of one number on a GPU share one.
  int instance = -1;
};

// The instances that a layout has on a GPU, each once however many share it, by place.
std::map<MigPlacement, int> InstancesOn(int gpu, const std::vector<Placed>& placed);

struct NodeLayout {
  std::vector<Placed> placed;    // by need
  std::vector<size_t> unplaced;  // needs
  bool gave_up = false;          // `unplaced` is what was not found room for, without proof
  bool exact = true;             // no cheaper layout exists
  // Of the price of the GPUs used, where all prices are known: no layout that places as many costs
  // less.
  std::optional<double> lower_bound;
};

// Fits needs onto GPUs. Holds references to all it is given.
class LayoutSolver {
 public:
  LayoutSolver(const std::vector<GpuView>& views, const std::vector<ReplicaNeed>& needs,
               const Deployment& deployment, const Catalog& catalog,
               const fleet::SolverLimits& fleet_limits = {},
               std::map<std::string, double> slices_seen = {});

  // What runs stays where it is when all fits that way; otherwise as few as possible move.
  NodeLayout Solve() const;

  // Whether `extra` would fit beside the placed ones, which may be arranged anew; `more`, if given,
  // is one more GPU.
  bool WouldFit(const std::vector<Placed>& placed, const ReplicaNeed& extra,
                const GpuView* more = nullptr) const;

  const Candidates& CandidatesOf(const ReplicaNeed& need, size_t view) const;
  // What is asked for on the whole, as parts of that GPU. What runs is as good a sign of what will
  // come as what is to be placed now.
  const placement::ShareValue& ShareValueOn(size_t view) const;
  // Likewise as instances of MIG, with what was asked for before; absent where MIG cannot divide
  // it.
  const placement::SliceValue* SliceValueOn(size_t view) const;

  // These on all GPUs, nothing of what runs staying where it is. Bins in the order of the views.
  SearchProblem ProblemOf(const std::vector<const ReplicaNeed*>& items) const;

 private:
  // A replica that stays on its slice.
  struct Pin {
    std::vector<int> gpus;
    Option option;
    std::optional<MigPlacement> placement;
  };
  using Pins = std::map<size_t, Pin>;  // by need

  std::optional<Pin> PinOf(size_t need) const;
  SearchProblem ProblemOf(const std::vector<const ReplicaNeed*>& items,
                          const std::vector<GpuView>& views, const Pins& pins) const;
  Bin BinOf(const GpuView& view, size_t index, const Pins& pins) const;
  // The instances that pinned replicas share: bins of their own, behind those of the views.
  std::vector<Bin> SharedInstances(const std::vector<GpuView>& views, const Pins& pins) const;
  // Where a choice is.
  struct Spot {
    size_t view = 0;
    Option option;
    std::optional<MigPlacement> placement;  // of an instance that is shared already
  };
  Spot SpotOf(size_t need, const Choice& choice, const std::vector<Bin>& shared) const;
  // Also with several in one instance, where that makes it cheaper or possible at all.
  enum class Sharing { kNone, kInstances };
  SearchOutcome TrySearch(const std::vector<size_t>& needs, const Pins& pins,
                          const SearchLimits& limits, SearchAnswer* answer,
                          Sharing sharing = Sharing::kInstances) const;
  // Moves as few pinned replicas as will do; false when no set of moves does.
  bool MoveFewest(const std::vector<size_t>& needs, const Pins& pins, Pins* kept,
                  SearchAnswer* answer, bool* gave_up) const;
  // For very many needs: as many as can be found room for, at nearly the least cost.
  NodeLayout SolveFleet(const Pins& pins) const;
  NodeLayout PlaceWhatFits(const Pins& pins, bool gave_up) const;
  std::vector<Placed> Settle(const std::vector<size_t>& needs, const Pins& pins,
                             SearchAnswer answer) const;
  void GiveBackOldPlaces(const std::vector<size_t>& items, const std::vector<Bin>& shared,
                         SearchAnswer* answer) const;
  void PlaceInstances(const Pins& pins, std::vector<Placed>* placed) const;

  const std::vector<GpuView>& views_;
  const std::vector<ReplicaNeed>& needs_;
  const Deployment& deployment_;
  const Catalog& catalog_;
  const fleet::SolverLimits fleet_limits_;
  const std::map<std::string, double> slices_seen_;                    // by profile
  mutable std::map<std::string, std::vector<Candidates>> candidates_;  // by class, per view
  mutable std::map<size_t, placement::ShareValue> share_values_;       // by view
  mutable std::map<size_t, std::shared_ptr<const placement::SliceValue>> slice_values_;
  // By what it is made of: GPUs that are alike have one.
  mutable std::map<std::string, std::shared_ptr<const placement::SliceValue>> slice_values_of_;
};

}  // namespace tranche::planning
