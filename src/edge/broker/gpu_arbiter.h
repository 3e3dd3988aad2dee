#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "edge/broker/gate_file.h"
#include "edge/broker/turns_table.h"
#include "limiter/policy/party_turns.h"

namespace tranche {

// Turns that went from one party to another, and how long it took from closing the gate of the one
// until that of the other was open: what the one had in flight, mostly.
struct HandOvers {
  uint64_t count = 0;
  Duration sum{0};
  Duration longest{0};
};

// Hands one GPU's turns over among parties (limiter/policy/party_turns.h), whose tables it reads
// and whose gates it opens. With one party it does nothing. Any thread.
class GpuArbiter {
 public:
  GpuArbiter();
  // All gates are left open: without a broker nobody takes turns.
  ~GpuArbiter();
  GpuArbiter(const GpuArbiter&) = delete;
  GpuArbiter& operator=(const GpuArbiter&) = delete;

  // `table` must live until Remove. kDoesNotFit when there are too many.
  Status Add(const std::string& party, TurnsTable& table, std::unique_ptr<GateFile> gate);
  // Of the GPU's time, what its slices have been promised together.
  void Weigh(const std::string& party, Fraction promised);
  // Its gate file goes as well.
  void Remove(const std::string& party);

  HandOvers hand_overs() const;

 private:
  struct Party {
    uint32_t number = 0;
    TurnsTable* table = nullptr;
    std::unique_ptr<GateFile> gate;
    std::thread listener;  // for the bell
    bool leaving = false;
  };

  void Listen(Party* party);
  void KeepTime();
  // All with mutex_ held.
  void Step();
  void CloseAllBut(int32_t open, int64_t now);
  void Count(int32_t open, int64_t now);

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable due_;
  limiter::PartyTurns turns_;
  std::map<std::string, std::unique_ptr<Party>> parties_;
  int64_t deadline_;
  bool ending_ = false;
  int32_t open_ = limiter::PartyTurns::kNobody;
  int64_t closed_at_ = 0;  // of the party whose turn ended; 0: none did
  HandOvers hand_overs_;
  std::thread timekeeper_;
};

}  // namespace tranche
