#include <fmt/format.h>

#include <limits>

#include "base/json.h"
#include "model/tier_capacity.h"

namespace tranche {
namespace {

int CountIn(JsonReader& reader, const char* key) {
  const int64_t value = reader.Int(key);
  if (value >= 0 && value <= std::numeric_limits<int>::max()) return static_cast<int>(value);
  reader.Add(
      Fail(ErrorCode::kInvalid, fmt::format("{}.{} is {}, no count", reader.where(), key, value)));
  return 0;
}

}  // namespace

Json ToJson(const TierCapacity& capacity) {
  Json json;
  json["tier"] = capacity.tier;
  json["gpu_uuids"] = capacity.gpu_uuids;
  if (capacity.slices) {
    json["slices"] = *capacity.slices;
  } else {
    json["unavailable"]["slices"] = "nothing says how many may share a GPU";
  }
  json["used"] = capacity.used;
  json["how"] = capacity.how;
  json["notes"] = capacity.notes;
  return json;
}

Result<TierCapacity> TierCapacityFromJson(const Json& json) {
  JsonReader reader(json, "tier");
  TierCapacity capacity;
  capacity.tier = reader.String("tier");
  capacity.gpu_uuids = reader.Strings("gpu_uuids");
  if (reader.Has("slices")) capacity.slices = CountIn(reader, "slices");
  capacity.used = CountIn(reader, "used");
  capacity.how = reader.String("how");
  capacity.notes = reader.Strings("notes");
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return capacity;
}

}  // namespace tranche
