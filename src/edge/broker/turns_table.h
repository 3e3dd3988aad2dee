#pragma once

#include <memory>
#include <string>
#include <vector>

#include "edge/broker/slice_store.h"
#include "limiter/policy/party_turns.h"

namespace tranche {

// The time of one GPU, shared by slices in turns: the table that their processes map. The processes
// may write to it, so it is only ever for slices of one party; parties take turns by a GpuArbiter.
class TurnsTable {
 public:
  // Of the GPU, in the folder where its slices' tables are; made when it is missing. `uid`: whose
  // processes they are. The host outlives it.
  static Result<std::unique_ptr<TurnsTable>> Open(TableHost& host, const std::string& folder,
                                                  const std::string& gpu_uuid, uint32_t uid);
  ~TurnsTable();
  TurnsTable(const TurnsTable&) = delete;
  TurnsTable& operator=(const TurnsTable&) = delete;

  const std::string& path() const { return path_; }
  // A line for a new slice. kDoesNotFit when all are taken.
  Result<uint32_t> AddLine(const ComputeShares& shares);
  Status SetLine(uint32_t line, const ComputeShares& shares);
  void RemoveLine(uint32_t line);
  // Of the GPU's time, by the slice of that line since it began.
  Duration Used(uint32_t line) const;
  // The processes of that line that the driver gives the GPU in turns, since they are no clients of
  // an MPS server; as they see their own pid.
  std::vector<int> NoMpsClients(uint32_t line) const;
  // What its slices want of the GPU together, as their processes say (abi/gpu_gate.h).
  limiter::PartyTurns::Wish Wish() const;
  // Rung by the processes; waits until it is no more as it was heard.
  uint32_t Bell() const;
  void WaitForBell(uint32_t heard) const;
  void RingBell();
  // The file goes with this object: no slice uses it any more.
  void Discard() { discard_ = true; }
  // Ends what dead processes left in flight.
  void Reap();

 private:
  TurnsTable(TableHost& host, std::string path, TrancheSlice* table)
      : host_(host), path_(std::move(path)), table_(table) {}

  TableHost& host_;
  std::string path_;
  TrancheSlice* table_;
  bool discard_ = false;
};

}  // namespace tranche
