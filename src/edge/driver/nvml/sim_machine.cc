#include "edge/driver/nvml/sim_machine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace tranche {

SimMachine::SimMachine(const std::string& options) {
  std::string pattern = testing::TempDir() + "tranche_nvml_XXXXXX";
  if (mkdtemp(pattern.data()) == nullptr) {
    ADD_FAILURE() << "cannot make a directory like " << pattern;
    return;
  }
  dir_ = pattern + "/machine";
  Run("create", options);
  setenv("TRANCHE_SIM_DIR", dir_.c_str(), 1);
}

SimMachine::~SimMachine() {
  for (const int pid : pids_) kill(pid, SIGKILL);
  unsetenv("TRANCHE_SIM_UID");
  std::error_code ignored;
  std::filesystem::remove_all(std::filesystem::path(dir_).parent_path(), ignored);
}

std::string SimMachine::library() const {
  // A machine whose driver lacks symbols has a library of its own. The loader takes a path that it
  // knows for the library that it has, so each call names it anew: a fault may have replaced it.
  if (!std::filesystem::exists(dir_ + "/lib/libnvidia-ml.so.1")) return TRANCHE_SIM_NVML;
  static std::atomic<int> names{0};
  const std::string folder = fmt::format("{}/lib.{}", dir_, ++names);
  std::error_code error;
  std::filesystem::create_directory_symlink(dir_ + "/lib", folder, error);
  EXPECT_FALSE(error) << error.message();
  return folder + "/libnvidia-ml.so.1";
}

std::string SimMachine::Run(const std::string& verb, const std::string& options) const {
  const std::string command =
      std::string("'" TRANCHE_SIM "' ") + verb + " '" + dir_ + "' " + options + " 2>&1";
  std::string output;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) {
    ADD_FAILURE() << "cannot run " << command;
    return output;
  }
  std::array<char, 4096> buffer;
  while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) {
    output.append(buffer.data(), got);
  }
  EXPECT_EQ(pclose(pipe), 0) << command << "\n" << output;
  return output;
}

void SimMachine::TakeSymbols(const std::vector<std::string>& symbols) const {
  std::string options;
  for (const std::string& symbol : symbols) options += " --missing-symbol " + symbol;
  Run("fault", options);
}

int SimMachine::Attach(const std::string& options) {
  const int pid = std::atoi(Run("attach", options).c_str());
  EXPECT_GT(pid, 0);
  pids_.push_back(pid);
  return pid;
}

void SimMachine::Detach(int pid) {
  kill(pid, SIGKILL);
  std::erase(pids_, pid);
}

void SimMachine::HideMigFromUsers() const {
  EXPECT_EQ(chmod((dir_ + "/capabilities/mig/monitor").c_str(), 0400), 0);
}

void SimMachine::BecomeUser(unsigned uid) const {
  setenv("TRANCHE_SIM_UID", std::to_string(uid).c_str(), 1);
}

}  // namespace tranche
