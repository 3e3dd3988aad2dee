#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "model/vgpu.h"

namespace tranche {

// What must be bought for virtual GPUs of a series.
struct VgpuLicence {
  std::string name;
  bool per_gpu = false;  // for each GPU, however many are on it; otherwise for each machine
  std::optional<double> price_per_hour;
  std::string currency;
  std::string source;
  Confidence confidence = Confidence::kLow;
};

// The types of one board.
struct VgpuBoard {
  bool ecc = false;               // ECC takes of its framebuffer
  std::vector<VgpuOffer> offers;  // as written
  std::string source;
  Confidence confidence = Confidence::kLow;
};

// Facts about virtual GPUs as data. Immutable.
class VgpuCatalog {
 public:
  // The embedded data. Fails only if the build embedded broken YAML, which a test excludes.
  static Result<VgpuCatalog> Load();
  static Result<VgpuCatalog> Parse(std::string_view text);

  const std::map<std::string, VgpuBoard>& boards() const { return boards_; }
  // By catalog key; nullptr when nothing is known.
  const VgpuBoard* FindBoard(const std::string& gpu) const;
  const VgpuLicence& LicenceOf(VgpuSeries series) const {
    return licences_[static_cast<size_t>(series)];
  }
  // Of the framebuffer, what the guest does not get, at most.
  Bytes ReservedOf(Bytes framebuffer, int most, bool ecc) const;
  // The types of a GPU: what the catalog knows, and `named` by its driver, which may be of other
  // series or newer; its word on their MIG profile ("": not said) and how many of them an instance
  // holds (0: not said) counts more. Those that MIG backs, with the profile of the GPU that does.
  // The largest first.
  std::vector<VgpuOffer> OffersOf(const std::string& gpu, Bytes memory,
                                  const std::vector<MigProfile>& profiles,
                                  const std::vector<VgpuOffer>& named) const;

 private:
  std::map<std::string, VgpuBoard> boards_;
  std::array<VgpuLicence, kAllVgpuSeries.size()> licences_;
  double fraction_ = 0, ecc_fraction_ = 0;
  Bytes fixed_, per_gpu_;
};

// The embedded data, read once.
const VgpuCatalog& BuiltInVgpuCatalog();

}  // namespace tranche
