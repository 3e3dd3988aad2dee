#include "catalog/vgpu_catalog.h"

#include <algorithm>

#include "catalog/field_reader.h"

extern "C" {
extern const char catalog_vgpu_yaml[], catalog_vgpu_yaml_end[];
}

namespace tranche {
namespace {

constexpr int kMostMib = 1 << 20, kMostOfOne = 256, kMostSlices = 7;
constexpr double kHoursPerYear = 8760;
constexpr double kMostPrice = 1e6;
constexpr double kWholeOfEcc = 1.07, kWholeOfOthers = 1.02;

VgpuLicence ReadLicence(const YamlNode& node, catalog::Mistakes* mistakes) {
  catalog::FieldReader fields(node, mistakes);
  VgpuLicence licence;
  licence.name = fields.Text("name");
  const std::string per = fields.Text("per");
  licence.per_gpu = per == "gpu";
  if (per != "gpu" && per != "machine") fields.Wrong("per", "must be gpu or machine");
  const auto price = fields.NumberOrNull("price_per_year", 0.01, kMostPrice);
  if (price) licence.price_per_hour = *price / kHoursPerYear;
  licence.currency = fields.Text("currency");
  licence.source = fields.Text("source");
  licence.confidence = fields.ReadConfidence("confidence");
  return licence;
}

VgpuOffer ReadOffer(const YamlNode& node, bool mig, catalog::Mistakes* mistakes) {
  catalog::FieldReader fields(node, mistakes);
  VgpuOffer offer;
  offer.name = fields.Text("type");
  if (!IsVgpuType(offer.name)) fields.Wrong("type", "is no name of a type");
  offer.framebuffer = MiB(static_cast<uint64_t>(fields.Int("mib", 256, kMostMib)));
  if (mig) {
    offer.most = fields.Int("most", 1, kMostOfOne);
    offer.mig_slices = fields.Int("slices", 1, kMostSlices);
    const YamlNode* profile = fields.Optional("profile");
    if (profile != nullptr && !profile->IsNull()) offer.mig_profile = profile->scalar;
    if (fields.Has("per_instance")) {
      offer.most_per_instance = fields.Int("per_instance", 1, kMostOfOne);
      if (offer.most % offer.most_per_instance != 0)
        fields.Wrong("per_instance", "must divide most");
    } else if (offer.most > kMostSlices) {
      fields.Wrong("most", "must be 7 at most where each has an instance");
    }
  } else {
    offer.most = fields.Int("alone", 1, kMostOfOne);
    offer.most_mixed = fields.IntOrNull("mixed", 1, offer.most).value_or(0);
  }
  return offer;
}

// What of a name says which variant of a profile it is.
constexpr const char* kGraphics = "+gfx";

// The instance that a type is made on: of its slices, with or without media or graphics, and of
// those the one whose memory is nearest. Names differ between drivers, so the catalog's is only a
// hint.
std::string BackingProfile(const VgpuOffer& offer, const std::vector<MigProfile>& profiles) {
  const MigVariant variant = offer.name.ends_with("ME")               ? MigVariant::kMedia
                             : offer.mig_profile.ends_with(kGraphics) ? MigVariant::kGraphics
                                                                      : MigVariant::kPlain;
  const uint64_t memory =
      offer.framebuffer.value * static_cast<uint64_t>(std::max(1, offer.most_per_instance));
  const auto distance = [&](const MigProfile& profile) {
    const uint64_t of_it = profile.memory.value;
    return of_it > memory ? of_it - memory : memory - of_it;
  };
  const MigProfile* best = nullptr;
  for (const MigProfile& profile : profiles) {
    if (profile.compute_slices != offer.mig_slices || profile.variant != variant) continue;
    if (profile.name == offer.mig_profile) return profile.name;
    if (best == nullptr || distance(profile) < distance(*best)) best = &profile;
  }
  return best != nullptr ? best->name : "";
}

// Where the types of a board are made on instances with graphics, all of them are.
std::string GraphicsProfileOf(int slices, const VgpuBoard* board) {
  for (const VgpuOffer& offer : board != nullptr ? board->offers : std::vector<VgpuOffer>()) {
    if (offer.mig_slices == slices && offer.mig_profile.ends_with(kGraphics))
      return offer.mig_profile;
  }
  return "";
}

// What a driver says of how its types stand in MIG's instances counts more than what is known.
void TakeWord(const VgpuOffer& driver, VgpuOffer* offer) {
  if (driver.most_per_instance > 0) offer->most_per_instance = driver.most_per_instance;
  if (!driver.mig_profile.empty()) offer->mig_profile = driver.mig_profile;
}

}  // namespace

Result<VgpuCatalog> VgpuCatalog::Load() {
  return Parse({catalog_vgpu_yaml, static_cast<size_t>(catalog_vgpu_yaml_end - catalog_vgpu_yaml)});
}

Result<VgpuCatalog> VgpuCatalog::Parse(std::string_view text) {
  const auto document = catalog::ParseData("vgpu.yaml", text);
  if (!document) return tl::unexpected<Error>(document.error());
  catalog::Mistakes mistakes("vgpu.yaml");
  VgpuCatalog read;
  {
    catalog::FieldReader top(*document, &mistakes);
    catalog::FieldReader reserved(top.Map("reserved"), &mistakes);
    read.fraction_ = reserved.Number("fraction", 0, 0.5);
    read.ecc_fraction_ = reserved.Number("ecc_fraction", 0, 0.5);
    read.fixed_ = MiB(static_cast<uint64_t>(reserved.Int("fixed_mib", 0, 1024)));
    read.per_gpu_ = MiB(static_cast<uint64_t>(reserved.Int("per_gpu_mib", 0, 1024)));
    reserved.Text("source");
    reserved.ReadConfidence("confidence");
    catalog::FieldReader licences(top.Map("licences"), &mistakes);
    for (const VgpuSeries series : kAllVgpuSeries) {
      read.licences_[static_cast<size_t>(series)] =
          ReadLicence(licences.Map(VgpuSeriesName(series)), &mistakes);
    }
    for (const auto& [key, node] : top.Map("boards").members) {
      catalog::FieldReader fields(node, &mistakes);
      VgpuBoard& board = read.boards_[key.scalar];
      board.ecc = fields.Bool("ecc");
      for (const YamlNode& item : fields.Sequence("time_sliced").items)
        board.offers.push_back(ReadOffer(item, false, &mistakes));
      if (fields.Has("mig_backed")) {
        for (const YamlNode& item : fields.Sequence("mig_backed").items)
          board.offers.push_back(ReadOffer(item, true, &mistakes));
      }
      for (VgpuOffer& offer : board.offers)
        offer.reserved = read.ReservedOf(offer.framebuffer, offer.most, board.ecc);
      board.source = fields.Text("source");
      board.confidence = fields.ReadConfidence("confidence");
    }
  }
  if (!mistakes.empty()) return tl::unexpected<Error>(mistakes.status().error());
  return read;
}

const VgpuBoard* VgpuCatalog::FindBoard(const std::string& gpu) const {
  const auto found = boards_.find(gpu);
  return found != boards_.end() ? &found->second : nullptr;
}

Bytes VgpuCatalog::ReservedOf(Bytes framebuffer, int most, bool ecc) const {
  const auto part =
      static_cast<double>(framebuffer.value) * (fraction_ + (ecc ? ecc_fraction_ : 0));
  const Bytes reserved{static_cast<uint64_t>(part) + fixed_.value +
                       per_gpu_.value / static_cast<uint64_t>(std::max(1, most))};
  return std::min(reserved, framebuffer);
}

std::vector<VgpuOffer> VgpuCatalog::OffersOf(const std::string& gpu, Bytes memory,
                                             const std::vector<MigProfile>& profiles,
                                             const std::vector<VgpuOffer>& named) const {
  const VgpuBoard* board = FindBoard(gpu);
  std::vector<VgpuOffer> offers = board != nullptr ? board->offers : std::vector<VgpuOffer>();
  for (const VgpuOffer& one : named) {
    const auto known = std::find_if(offers.begin(), offers.end(),
                                    [&](const VgpuOffer& offer) { return offer.name == one.name; });
    if (known != offers.end()) {
      TakeWord(one, &*known);
      continue;
    }
    VgpuOffer offer = one;
    // Another series of the same size is as many; otherwise as many as its memory holds.
    const auto alike = std::find_if(offers.begin(), offers.end(), [&](const VgpuOffer& other) {
      return other.mig_slices == one.mig_slices && other.framebuffer == one.framebuffer;
    });
    if (alike != offers.end()) {
      offer.most = alike->most;
      offer.most_mixed = alike->most_mixed;
      offer.mig_profile = alike->mig_profile;
      offer.most_per_instance = alike->most_per_instance;
      TakeWord(one, &offer);
    } else if (one.mig_slices == 0) {
      // NVML counts what ECC leaves; a board's own figure is what the types divide.
      const double whole = static_cast<double>(memory.value) *
                           (board != nullptr && board->ecc ? kWholeOfEcc : kWholeOfOthers);
      const double fit = whole / static_cast<double>(std::max<uint64_t>(1, one.framebuffer.value));
      offer.most = std::max({1, one.most, static_cast<int>(fit)});
    } else {
      // One for each instance, unless the driver says otherwise.
      offer.most_per_instance = std::max(1, one.most_per_instance);
      if (offer.mig_profile.empty()) offer.mig_profile = GraphicsProfileOf(one.mig_slices, board);
    }
    offer.reserved = ReservedOf(offer.framebuffer, offer.most, board == nullptr || board->ecc);
    offers.push_back(std::move(offer));
  }
  for (VgpuOffer& offer : offers) {
    if (offer.mig_slices > 0) offer.mig_profile = BackingProfile(offer, profiles);
  }
  offers.erase(std::remove_if(offers.begin(), offers.end(),
                              [](const VgpuOffer& offer) {
                                return offer.mig_slices > 0 && offer.mig_profile.empty();
                              }),
               offers.end());
  std::stable_sort(offers.begin(), offers.end(), [](const VgpuOffer& a, const VgpuOffer& b) {
    return a.framebuffer > b.framebuffer;
  });
  return offers;
}

const VgpuCatalog& BuiltInVgpuCatalog() {
  // That it can be read is held by a test.
  static const VgpuCatalog built_in = VgpuCatalog::Load().value_or(VgpuCatalog());
  return built_in;
}

}  // namespace tranche
