#include "engine/time_zone.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tranche {
namespace {

namespace fs = std::filesystem;

std::string Number(int64_t value, int bytes) {
  std::string text;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    text += static_cast<char>(static_cast<uint64_t>(value) >> shift);
  }
  return text;
}

std::string Header(int transitions, int types, int letters) {
  return "TZif2" + std::string(15, '\0') + Number(0, 4) + Number(0, 4) + Number(0, 4) +
         Number(transitions, 4) + Number(types, 4) + Number(letters, 4);
}

// A file of version 2 with types of these offsets, transitions to them, and a rule after the last.
std::string ZoneFile(const std::vector<int>& types,
                     const std::vector<std::pair<int64_t, int>>& transitions,
                     const std::string& rule) {
  std::string file = Header(0, 1, 4) + Number(0, 4) + Number(0, 2) + std::string("LMT\0", 4);
  file += Header(static_cast<int>(transitions.size()), static_cast<int>(types.size()), 4);
  for (const auto& [at, type] : transitions) file += Number(at, 8);
  for (const auto& [at, type] : transitions) file += Number(type, 1);
  for (const int offset : types) file += Number(offset, 4) + Number(0, 2);
  return file + std::string("LMT\0", 4) + "\n" + rule + "\n";
}

// Unix time of midnight UTC.
constexpr int64_t kJanuary2026 = 1767225600, kJuly2026 = 1782864000;

TEST(TimeZone, TransitionsCountUpToTheLast) {
  const std::string file = ZoneFile({100, 3600, 7200}, {{1000, 1}, {2000, 2}, {3000, 1}}, "");
  EXPECT_EQ(*OffsetInZoneFile(file, 999), 100);
  EXPECT_EQ(*OffsetInZoneFile(file, 1000), 3600);
  EXPECT_EQ(*OffsetInZoneFile(file, 2500), 7200);
  EXPECT_EQ(*OffsetInZoneFile(file, kJuly2026), 3600);
}

TEST(TimeZone, AfterThemTheRuleDoes) {
  const std::string berlin = ZoneFile({3600}, {{1000, 0}}, "CET-1CEST,M3.5.0,M10.5.0/3");
  EXPECT_EQ(*OffsetInZoneFile(berlin, kJanuary2026), 3600);
  EXPECT_EQ(*OffsetInZoneFile(berlin, kJuly2026), 7200);
  // The clocks of 2026 change on 29 March and 25 October, at 01:00 UTC.
  EXPECT_EQ(*OffsetInZoneFile(berlin, 1774746000 - 1), 3600);
  EXPECT_EQ(*OffsetInZoneFile(berlin, 1774746000), 7200);
  EXPECT_EQ(*OffsetInZoneFile(berlin, 1792890000 - 1), 7200);
  EXPECT_EQ(*OffsetInZoneFile(berlin, 1792890000), 3600);
  // Summer over the new year, in the south.
  const std::string sydney = ZoneFile({36000}, {}, "AEST-10AEDT,M10.1.0,M4.1.0/3");
  EXPECT_EQ(*OffsetInZoneFile(sydney, kJanuary2026), 39600);
  EXPECT_EQ(*OffsetInZoneFile(sydney, kJuly2026), 36000);
  EXPECT_EQ(*OffsetInZoneFile(ZoneFile({0}, {}, "<+0545>-5:45"), kJuly2026), 20700);
  EXPECT_EQ(*OffsetInZoneFile(ZoneFile({0}, {}, "EST5"), kJuly2026), -18000);
  EXPECT_EQ(*OffsetInZoneFile(ZoneFile({0}, {}, "XST0XDT,J60/0,J305/0"), kJuly2026), 3600);
}

TEST(TimeZone, WhateverIsBrokenIsAnError) {
  const std::string whole = ZoneFile({100, 3600}, {{1000, 1}}, "CET-1CEST,M3.5.0,M10.5.0/3");
  for (size_t size = 0; size + 30 < whole.size(); ++size) {
    EXPECT_FALSE(OffsetInZoneFile(whole.substr(0, size), kJuly2026)) << size;
  }
  for (const char* rule : {"C", "CET-1CEST", "CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M3.5", "5"}) {
    EXPECT_FALSE(OffsetInZoneFile(ZoneFile({0}, {}, rule), kJuly2026)) << rule;
  }
}

TEST(TimeZone, IsReadFromTheMachine) {
  const fs::path root = fs::temp_directory_path() / ("tranche-zones-" + std::to_string(getpid()));
  fs::create_directories(root / "usr/share/zoneinfo/Europe");
  std::ofstream(root / "usr/share/zoneinfo/Europe/Berlin", std::ios::binary)
      << ZoneFile({3600}, {}, "CET-1CEST,M3.5.0,M10.5.0/3");
  const ZoneOffset zones = SystemTimeZones(root.string());
  const Time july = Time(std::chrono::seconds(kJuly2026));
  EXPECT_EQ(*zones("UTC", july), 0);
  EXPECT_EQ(*zones("Europe/Berlin", july), 7200);
  for (const char* wrong : {"Europe/Atlantis", "Europe", "../../etc/passwd", ""}) {
    const auto offset = zones(wrong, july);
    ASSERT_FALSE(offset) << wrong;
    EXPECT_EQ(offset.error().code, ErrorCode::kNotFound);
  }
  fs::remove_all(root);
}

}  // namespace
}  // namespace tranche
