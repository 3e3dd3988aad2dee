#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "abi/slice_table.h"
#include "base/result.h"
#include "base/units.h"
#include "edge/broker/table_host.h"

namespace tranche {

// What a slice may use of one GPU's time.
struct ComputeShares {
  Fraction request;                // what it gets whenever it wants it
  Fraction limit{1};               // at most, whatever is spare; 1 is no limit
  std::optional<Fraction> weight;  // of what is spare; absent: as the request
  int priority = 0;
};

// What a slice may hold of one GPU.
struct SliceLimit {
  std::string uuid;                                     // "GPU-...", "MIG-..."
  Bytes memory;                                         // at most, over all processes of the slice
  Bytes context_bytes;                                  // what one context costs there
  std::optional<ComputeShares> compute = std::nullopt;  // absent: its time is not measured
  // Or: the line of the GPU's own table (TurnsTable) that says what it may use.
  std::optional<uint32_t> turns_line = std::nullopt;
  int sm_count = 0;  // of the GPU; 0: not known
};

// What one process of a slice holds by now, by device in the order of the limits.
struct SliceMember {
  uint64_t pid = 0;
  std::vector<Bytes> held;
};

// The table of one slice, from the side of whoever made it. The processes of the slice open it by
// its path (limiter/open_table.h), so that it survives exec, closing all descriptors and new
// namespaces. Safe from one thread; the table itself from any process.
class SliceStore {
 public:
  // Nobody but `owner`, a uid (by default the caller's), may open it. The host outlives it.
  static Result<std::unique_ptr<SliceStore>> Create(TableHost& host, const std::string& folder,
                                                    const std::string& name,
                                                    const std::vector<SliceLimit>& limits,
                                                    std::optional<uint32_t> owner = {});
  // One that is there already, made by an earlier process.
  static Result<std::unique_ptr<SliceStore>> Adopt(TableHost& host, const std::string& path,
                                                   uint32_t owner);
  // Takes the table away, unless it is to stay; processes that still run keep what they have
  // mapped.
  ~SliceStore();
  void Keep() { keep_ = true; }
  SliceStore(const SliceStore&) = delete;
  SliceStore& operator=(const SliceStore&) = delete;

  const std::string& path() const { return path_; }
  // From now on; what is held beyond it stays held, and nothing more is granted.
  void SetMemoryLimit(size_t device, Bytes limit);
  // From now on. kFailed when the table cannot be opened any more.
  Status SetCompute(size_t device, const ComputeShares& shares);
  Bytes Used(size_t device) const;
  // Of the GPU's time, since the slice began; absent where it is not measured.
  std::optional<Duration> ComputeUsed(size_t device) const;
  TrancheCounters Counters(size_t device) const;
  // What the limiter could not hold there, or holds no longer; sentences for people.
  std::vector<std::string> Troubles(size_t device) const;
  // Its programs take no turns: the driver's time slices are all that they have of time.
  void LeaveTimeToDriver(size_t device);
  std::vector<SliceMember> Members() const;
  // Gives back what dead processes held; how many there were.
  uint32_t Reap();

 private:
  SliceStore(TableHost& host, std::string path, TrancheSlice* table)
      : host_(host), path_(std::move(path)), table_(table) {}

  TableHost& host_;
  std::string path_;
  TrancheSlice* table_;
  bool keep_ = false;
};

// The sixteen bytes that CUDA knows a device by. kInvalid for anything but a UUID.
Result<std::array<uint8_t, 16>> ParseUuid(const std::string& text);

}  // namespace tranche
