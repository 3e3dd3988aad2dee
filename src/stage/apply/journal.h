#pragma once

#include "base/result.h"
#include "edge/store/store.h"

namespace tranche {

// Where it is written what is about to be done, and what came of it, on the disk when Put returns.
class Journal {
 public:
  virtual ~Journal() = default;
  virtual Status Put(const StepRecord& step) = 0;
};

// The journal of one apply that was begun in a Store.
class StoreJournal final : public Journal {
 public:
  StoreJournal(Store& store, int64_t apply_id) : store_(store), apply_id_(apply_id) {}
  Status Put(const StepRecord& step) override { return store_.PutStep(apply_id_, step); }

 private:
  Store& store_;
  const int64_t apply_id_;
};

}  // namespace tranche
