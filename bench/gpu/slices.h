#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "abi/slice_table.h"

namespace tranche::gpu_check {

// What one tenant may have of the GPU, in ppm of its time.
struct Shares {
  uint64_t memory_bytes = TRANCHE_UNLIMITED;
  uint32_t request = 0;  // 0 with limit 0: its time is not measured
  uint32_t limit = 0;    // 1000000: none
};

// Slices of one GPU, as the daemon makes them: a file for each, and one for the GPU's turns, which
// all of them take. Gone with this object.
class Slices {
 public:
  // `uuid`: 32 hexadecimal digits. Throws nothing; ok() says whether it worked.
  Slices(const std::string& folder, const std::string& uuid, uint64_t context_bytes,
         const std::vector<Shares>& tenants);
  ~Slices();
  Slices(const Slices&) = delete;
  Slices& operator=(const Slices&) = delete;

  bool ok() const { return ok_; }
  const std::string& path(size_t tenant) const { return tenants_[tenant].path; }
  // Bytes that the living processes of the tenant hold or ask for, by its own books.
  uint64_t Used(size_t tenant) const;
  void Reap(size_t tenant);
  const TrancheDevice& device(size_t tenant) const { return tenants_[tenant].table->devices[0]; }
  // Of the turns that all take.
  uint64_t Waits() const;
  uint64_t WaitedNs() const;
  // From the end of one's turn until the next one runs, on average, us; 0: there was none.
  double HandOverUs() const;

 private:
  struct Table {
    std::string path;
    TrancheSlice* table = nullptr;
  };
  bool Make(const std::string& path, const uint8_t* uuid, Table* made);

  bool ok_ = false;
  Table turns_;
  std::vector<Table> tenants_;
};

}  // namespace tranche::gpu_check
