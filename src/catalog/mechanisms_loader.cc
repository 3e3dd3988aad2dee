#include <fmt/format.h>

#include <algorithm>

#include "catalog/field_reader.h"
#include "catalog/loaders.h"

namespace tranche::catalog {
namespace {

Guarantee ReadGuarantee(FieldReader* fields, const char* axis) {
  const auto parsed = ParseGuarantee(fields->Text(axis));
  if (!parsed) fields->Wrong(axis, "must be none, cooperative, driver, kernel or hardware");
  return parsed.value_or(Guarantee::kNone);
}

Guarantee ReadGuaranteeOrNone(FieldReader* fields, const char* axis) {
  if (fields->Optional(axis) == nullptr) return Guarantee::kNone;
  return ReadGuarantee(fields, axis);
}

Guarantees ReadFloor(const YamlNode& node, Mistakes* mistakes) {
  FieldReader fields(node, mistakes);
  return {ReadGuarantee(&fields, "memory"), ReadGuarantee(&fields, "compute"),
          ReadGuarantee(&fields, "fault"), ReadGuarantee(&fields, "access")};
}

StrongerGuarantee ReadStronger(const YamlNode& node, const Guarantees& floor, Mistakes* mistakes) {
  FieldReader fields(node, mistakes);
  StrongerGuarantee stronger;
  stronger.when = fields.Text("when");
  stronger.guarantees = {
      ReadGuaranteeOrNone(&fields, "memory"), ReadGuaranteeOrNone(&fields, "compute"),
      ReadGuaranteeOrNone(&fields, "fault"), ReadGuaranteeOrNone(&fields, "access")};
  if (floor.Satisfies(stronger.guarantees)) fields.Wrong("lifts nothing above `guarantees`");
  return stronger;
}

Guarantees Best(const Guarantees& a, const Guarantees& b) {
  return {std::max(a.memory, b.memory), std::max(a.compute, b.compute), std::max(a.fault, b.fault),
          std::max(a.access, b.access)};
}

CatalogMechanism ReadMechanism(const YamlNode& node, Mistakes* mistakes) {
  CatalogMechanism mechanism;
  FieldReader fields(node, mistakes);
  mechanism.summary = fields.Text("summary");
  mechanism.floor = ReadFloor(fields.Map("guarantees"), mistakes);
  mechanism.guarantees = mechanism.floor;
  for (const YamlNode& item : fields.Sequence("stronger").items) {
    mechanism.stronger.push_back(ReadStronger(item, mechanism.floor, mistakes));
    mechanism.guarantees = Best(mechanism.guarantees, mechanism.stronger.back().guarantees);
  }
  mechanism.gate = fields.Text("gate");
  mechanism.max_tenants = fields.Int("max_tenants", 0, 1000);
  mechanism.traps = fields.Texts("traps");
  mechanism.source = fields.Text("source");
  mechanism.confidence = fields.ReadConfidence("confidence");
  return mechanism;
}

}  // namespace

Result<std::vector<CatalogMechanism>> LoadMechanisms(std::string_view text) {
  auto document = ParseData("mechanisms.yaml", text);
  if (!document) return tl::unexpected(document.error());
  Mistakes mistakes("mechanisms.yaml");
  std::vector<CatalogMechanism> mechanisms;
  {
    FieldReader top(*document, &mistakes);
    FieldReader all(top.Map("mechanisms"), &mistakes);
    for (Mechanism mechanism : kAllMechanisms) {
      mechanisms.push_back(ReadMechanism(all.Map(MechanismName(mechanism)), &mistakes));
      mechanisms.back().mechanism = mechanism;
    }
  }
  if (!mistakes.empty()) return tl::unexpected(mistakes.status().error());
  return mechanisms;
}

}  // namespace tranche::catalog
