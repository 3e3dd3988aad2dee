#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "base/process.h"
#include "edge/broker/brokered_tables.h"

namespace tranche {

// Tables in a folder of the test's own, kept by the real program.
class TestTables {
 public:
  TestTables() { NextDaemon(); }
  ~TestTables() {
    tables_.reset();
    std::filesystem::remove_all(folder_);
  }

  const std::string& folder() const { return folder_; }
  BrokeredTables& operator*() { return *tables_; }
  BrokeredTables* operator->() { return &*tables_; }

  // What one daemon knew is gone, but for what the broker has.
  void NextDaemon() {
    EndDaemon();
    tables_.emplace(folder_, [] { return Result<std::string>(TRANCHE_TABLE_BROKER); });
  }
  void EndDaemon() { tables_.reset(); }

  // Those of this folder that run.
  std::vector<pid_t> Brokers() const {
    std::vector<pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      // Of one that ends meanwhile nothing is read, which is no exception this way.
      std::ostringstream command;
      command << std::ifstream(entry.path() / "cmdline").rdbuf();
      if (command.str().find(folder_ + "/" + kBrokerSocket) == std::string::npos) continue;
      const auto stat = ReadProcessStat(std::atoi(entry.path().filename().c_str()));
      if (stat && stat->state != 'Z') found.push_back(stat->id.pid);
    }
    return found;
  }

 private:
  const std::string folder_ = testing::TempDir() + "tables." + std::to_string(getpid()) + "." +
                              testing::UnitTest::GetInstance()->current_test_info()->name();
  std::optional<BrokeredTables> tables_;
};

}  // namespace tranche
