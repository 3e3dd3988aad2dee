#include "catalog/overheads.h"

#include "catalog/field_reader.h"

extern "C" {
extern const char catalog_overheads_yaml[], catalog_overheads_yaml_end[];
}

namespace tranche {
namespace {

// No sharing makes more than ten of one GPU; a larger number is a typing mistake.
constexpr double kMostThroughput = 10;

SharingOverhead ReadOverhead(const YamlNode& node, catalog::Mistakes* mistakes) {
  SharingOverhead overhead;
  catalog::FieldReader fields(node, mistakes);
  overhead.throughput = fields.Number("throughput", 0.01, kMostThroughput);
  overhead.from = fields.Number("from", 0.01, kMostThroughput);
  overhead.to = fields.Number("to", 0.01, kMostThroughput);
  overhead.source = fields.Text("source");
  overhead.confidence = fields.ReadConfidence("confidence");
  if (overhead.from > overhead.throughput || overhead.throughput > overhead.to)
    fields.Wrong("throughput", "must be between `from` and `to`");
  return overhead;
}

}  // namespace

Result<SharingOverheads> SharingOverheads::Load() {
  return Parse({catalog_overheads_yaml,
                static_cast<size_t>(catalog_overheads_yaml_end - catalog_overheads_yaml)});
}

Result<SharingOverheads> SharingOverheads::Parse(std::string_view text) {
  auto document = catalog::ParseData("overheads.yaml", text);
  if (!document) return tl::unexpected<Error>(document.error());
  catalog::Mistakes mistakes("overheads.yaml");
  SharingOverheads overheads;
  {
    catalog::FieldReader top(*document, &mistakes);
    catalog::FieldReader all(top.Map("overheads"), &mistakes);
    for (const Mechanism mechanism : kAllMechanisms) {
      overheads.all_[static_cast<size_t>(mechanism)] =
          ReadOverhead(all.Map(MechanismName(mechanism)), &mistakes);
    }
  }
  if (!mistakes.empty()) return tl::unexpected<Error>(mistakes.status().error());
  return overheads;
}

}  // namespace tranche
