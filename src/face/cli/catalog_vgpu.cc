#include "face/cli/catalog_vgpu.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "catalog/vgpu_catalog.h"

namespace tranche {
namespace {

// Licences are sold by the year; plans count hours.
constexpr double kHoursPerYear = 8760;

Cell BytesCell(Bytes bytes) { return {FormatBytes(bytes), std::to_string(bytes.value)}; }

// 0 is "not known" of these.
Cell CountCell(int count) { return count > 0 ? Cell(std::to_string(count)) : Cell(); }

Json TypeJson(const CatalogGpu& gpu, const VgpuBoard& board, const VgpuOffer& offer) {
  Json json = {{"gpu", gpu.key},
               {"type", offer.name},
               {"series", VgpuSeriesName(offer.series)},
               {"framebuffer_bytes", offer.framebuffer.value},
               {"guest_memory_bytes", offer.guest().value},
               {"most", offer.most},
               {"licence", BuiltInVgpuCatalog().LicenceOf(offer.series).name},
               {"source", board.source},
               {"confidence", ConfidenceName(board.confidence)}};
  if (offer.mig_slices > 0) {
    json["mig_profile"] = offer.mig_profile;
    json["mig_slices"] = offer.mig_slices;
    json["most_per_instance"] = offer.most_per_instance;
  } else if (offer.most_mixed > 0) {
    json["most_mixed"] = offer.most_mixed;
  } else {
    json["unavailable"]["most_mixed"] = "how many there may be among other sizes is not known";
  }
  return json;
}

Json LicenceJson(VgpuSeries series, const VgpuLicence& licence) {
  Json json = {{"series", VgpuSeriesName(series)},
               {"name", licence.name},
               {"per", licence.per_gpu ? "gpu" : "machine"},
               {"source", licence.source},
               {"confidence", ConfidenceName(licence.confidence)}};
  if (licence.price_per_hour) {
    json["price_per_hour"] = *licence.price_per_hour;
    json["currency"] = licence.currency;
  } else {
    json["unavailable"]["price_per_hour"] = "the catalog has no price of it";
  }
  return json;
}

std::string LicenceText(VgpuSeries series, const VgpuLicence& licence) {
  return fmt::format(
      "series {}: {} for each {}, {} ({} confidence)\n", VgpuSeriesName(series), licence.name,
      licence.per_gpu ? "GPU" : "machine",
      licence.price_per_hour
          ? FormatMoney(*licence.price_per_hour * kHoursPerYear, licence.currency) + " per year"
          : "at a price that is not known",
      ConfidenceName(licence.confidence));
}

}  // namespace

Answer ViewCatalogVgpus(const Catalog& catalog, const CatalogGpu* only) {
  Answer answer;
  Table table;
  table.columns = {{"gpu", "GPU"},
                   {"type", "TYPE"},
                   {"framebuffer_bytes", "MEMORY", Align::kRight},
                   {"guest_memory_bytes", "GUEST HAS", Align::kRight},
                   {"most", "MOST", Align::kRight},
                   {"most_mixed", "MIXED", Align::kRight},
                   {"mig_profile", "MIG PROFILE"},
                   {"most_per_instance", "PER INSTANCE", Align::kRight},
                   {"licence", "LICENCE"},
                   {"confidence", "CONFIDENCE", Align::kLeft, true},
                   {"source", "SOURCE", Align::kLeft, true, true}};
  Json types = Json::array();
  const VgpuCatalog& vgpus = BuiltInVgpuCatalog();
  for (const CatalogGpu& gpu : catalog.gpus()) {
    const VgpuBoard* board = vgpus.FindBoard(gpu.key);
    if (board == nullptr || (only != nullptr && gpu.key != only->key)) continue;
    // As plans without hardware have them: those that MIG backs on the profiles of this GPU.
    std::vector<VgpuOffer> offers =
        vgpus.OffersOf(gpu.key, gpu.memory.value_or(Bytes{}), gpu.mig_profiles, {});
    std::stable_partition(offers.begin(), offers.end(),
                          [](const VgpuOffer& offer) { return offer.mig_slices == 0; });
    for (const VgpuOffer& offer : offers) {
      const bool mig = offer.mig_slices > 0;
      types.push_back(TypeJson(gpu, *board, offer));
      table.rows.push_back(
          {gpu.key, offer.name, BytesCell(offer.framebuffer), BytesCell(offer.guest()),
           std::to_string(offer.most), mig ? Cell() : CountCell(offer.most_mixed),
           offer.mig_profile, mig ? CountCell(offer.most_per_instance) : Cell(),
           vgpus.LicenceOf(offer.series).name, ConfidenceName(board->confidence), board->source});
    }
  }
  Json licences = Json::array();
  std::string text =
      "\nMOST of one size on a GPU, MIXED among other sizes. A driver may name more: types of "
      "series Q, A and B\nhave the counts of the size that they have.\n";
  for (const VgpuSeries series : kAllVgpuSeries) {
    licences.push_back(LicenceJson(series, vgpus.LicenceOf(series)));
    text += LicenceText(series, vgpus.LicenceOf(series));
  }
  answer.json = {{"format_version", "1.0"},
                 {"vgpu_types", std::move(types)},
                 {"licences", std::move(licences)}};
  answer.blocks.emplace_back(std::move(table));
  answer.blocks.emplace_back(std::move(text));
  return answer;
}

}  // namespace tranche
