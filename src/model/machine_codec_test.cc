#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "model/machine.h"
#include "model/random_machine.h"

namespace tranche {
namespace {

using testing::HasSubstr;

Json Document(uint32_t seed) { return ToJson(RandomMachine(seed)); }

// A machine with at least one GPU that has profiles, instances, a process and capabilities.
Json FullDocument() {
  for (uint32_t seed = 0;; ++seed) {
    Json json = Document(seed);
    if (json["gpus"].empty()) continue;
    const Json& gpu = json["gpus"][0];
    if (gpu.contains("utilization") && gpu["mig_profiles"].size() > 1 &&
        gpu["mig_instances"].size() > 1 && !gpu["processes"].empty() &&
        !gpu["mig_instances"][0]["compute_instances"].empty()) {
      return json;
    }
  }
}

TEST(MachineCodec, EveryMachineReadsBackAsItWas) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    const Machine machine = RandomMachine(seed);
    const auto parsed = ParseJson(PrintJson(ToJson(machine)));
    ASSERT_TRUE(parsed) << parsed.error().message;
    const auto back = MachineFromJson(*parsed);
    ASSERT_TRUE(back) << seed << ": " << back.error().message;
    EXPECT_EQ(*back, machine) << "seed " << seed;
  }
}

TEST(MachineCodec, UnknownIsAbsentWithItsReason) {
  Machine machine;
  Gpu gpu;
  gpu.uuid = "GPU-1";
  gpu.utilization = Reading<double>::Absent("not supported while MIG is on");
  machine.gpus.push_back(gpu);
  const Json json = ToJson(machine);
  const Json& out = json["gpus"][0];
  EXPECT_FALSE(out.contains("utilization"));
  EXPECT_EQ(out["unavailable"]["utilization"], "not supported while MIG is on");
  EXPECT_FALSE(out.contains("memory_total_bytes"));
  EXPECT_TRUE(out["unavailable"].contains("memory_total_bytes"));
  EXPECT_EQ(json["unavailable"]["driver_version"], "not read");
}

TEST(MachineCodec, NewerMinorVersionsAndUnknownKeysAreRead) {
  Json json = FullDocument();
  json["format_version"] = "1.7";
  json["gpus"][0]["colour"] = "green";
  EXPECT_TRUE(MachineFromJson(json));
  json["format_version"] = "2.0";
  EXPECT_THAT(MachineFromJson(json).error().message, HasSubstr("format_version is '2.0'"));
}

struct Broken {
  const char* pointer;
  const char* value;  // "" removes the member
  const char* message;
};

class MachineCodecRefuses : public testing::TestWithParam<Broken> {};

TEST_P(MachineCodecRefuses, WithThePlace) {
  Json json = FullDocument();
  const Json::json_pointer pointer(GetParam().pointer);
  if (*GetParam().value == '\0') {
    json[pointer.parent_pointer()].erase(pointer.back());
  } else {
    json[pointer] = *ParseJson(GetParam().value);
  }
  const auto machine = MachineFromJson(json);
  ASSERT_FALSE(machine);
  EXPECT_EQ(machine.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(machine.error().message, HasSubstr(GetParam().message));
  EXPECT_FALSE(machine.error().hint.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Documents, MachineCodecRefuses,
    testing::Values(
        Broken{"/gpus", "7", "machine.gpus is not an array"},
        Broken{"/gpus", "", "machine.gpus is missing"},
        Broken{"/gpus/0", "\"x\"", "machine.gpus[0] is not an object"},
        Broken{"/gpus/0/uuid", "\"\"", "machine.gpus[0].uuid is empty"},
        Broken{"/gpus/0/uuid", "", "machine.gpus[0].uuid is missing"},
        Broken{"/gpus/0/index", "-1", "machine.gpus[0].index is -1"},
        Broken{"/gpus/0/index", "1.5", "machine.gpus[0].index is not an integer"},
        Broken{"/gpus/0/index", "99999999999", "machine.gpus[0].index is 99999999999"},
        Broken{"/gpus/0/memory_total_bytes", "-5", "memory_total_bytes is not a number from 0 up"},
        Broken{"/gpus/0/utilization", "1.5", "machine.gpus[0].utilization is not between 0 and 1"},
        Broken{"/gpus/0/utilization", "\"x\"", "machine.gpus[0].utilization is not a number"},
        Broken{"/gpus/0/compute_mode", "\"fast\"", "is 'fast', not one of default, prohibited"},
        Broken{"/gpus/0/sm_count", "0", "machine.gpus[0].sm_count is 0"},
        Broken{"/gpus/0/memory_slots", "65", "machine.gpus[0].memory_slots is 65"},
        Broken{"/gpus/0/memory_slots", "4", "beyond the 4 of the GPU"},
        Broken{"/gpus/0/mig_profiles/1/variant", "\"odd\"", "gpus[0].mig_profiles[1].variant"},
        Broken{"/gpus/0/mig_profiles/0/placements/1/size", "0",
               "machine.gpus[0].mig_profiles[0].placements[1].size is 0"},
        Broken{"/gpus/0/mig_profiles/0/placements/1/start", "2147483647",
               "placements[1].start is 2147483647"},
        Broken{"/gpus/0/mig_instances/0/placement", "{\"start\": 0, \"size\": 8}",
               "machine.gpus[0].mig_instances [1] overlaps another"},
        Broken{"/gpus/0/mig_instances/0/compute_instances/0/id", "\"0\"",
               "mig_instances[0].compute_instances[0].id is not an integer"},
        Broken{"/gpus/0/processes/0/pid", "{}", "machine.gpus[0].processes[0].pid"},
        Broken{"/gpus/0/processes/0/uid", "4294967296", "uid is no user id"},
        Broken{"/gpus/0/health/problems", "[1]", "machine.gpus[0].health.problems has no text"},
        Broken{"/gpus/0/price_per_hour", "-1", "machine.gpus[0].price_per_hour is no price"},
        Broken{"/capabilities/0/mechanism", "\"mgi\"", "'mgi' is not a mechanism"},
        Broken{"/capabilities/0/guarantees/fault", "\"hardwere\"", "is not a guarantee"},
        Broken{"/read_at", "\"yesterday\"", "'yesterday' is not a time"},
        Broken{"/hostname", "[]", "machine.hostname is not a string"}));

TEST(MachineCodec, RefusesTheSameGpuTwice) {
  Json json = FullDocument();
  json["gpus"].push_back(json["gpus"][0]);
  EXPECT_THAT(MachineFromJson(json).error().message, HasSubstr("twice"));
}

TEST(MachineCodec, RefusesUnavailableReasonsThatAreNoText) {
  Json json = FullDocument();
  json["gpus"][0].erase("utilization");
  json["gpus"][0]["unavailable"]["utilization"] = Json::array({1});
  EXPECT_THAT(MachineFromJson(json).error().message, HasSubstr("reason for utilization"));
}

// Any member of any object replaced by any kind of value: an answer, never a crash.
TEST(MachineCodec, SurvivesEveryReplacedMember) {
  const Json document = FullDocument();
  const Json values[] = {nullptr, true, -1, 1e308, "x", Json::array({1}), Json::object()};
  const Json flat = document.flatten();
  for (const auto& [path, unused] : flat.items()) {
    for (Json::json_pointer pointer(path); !pointer.empty(); pointer.pop_back()) {
      for (const Json& value : values) {
        Json changed = document;
        changed[pointer] = value;
        const auto machine = MachineFromJson(changed);
        if (!machine) {
          EXPECT_EQ(machine.error().code, ErrorCode::kInvalid);
        }
      }
    }
  }
}

TEST(MachineCodec, RefusesWhatIsNoObject) {
  for (const Json& json : {Json(nullptr), Json(1), Json::array(), Json("machine")}) {
    EXPECT_THAT(MachineFromJson(json).error().message, HasSubstr("machine is not an object"));
  }
}

}  // namespace
}  // namespace tranche
