#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

// For tests of what talks to nvidia-cuda-mps-control: a simulated machine with two H100, and
// programs that use its first GPU.

namespace tranche {

class SimulatedMachine {
 public:
  SimulatedMachine() {
    std::string pattern = testing::TempDir() + "tranche_mps_XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  ~SimulatedMachine() {
    while (!clients_.empty()) End(clients_.back());
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  SimulatedMachine(const SimulatedMachine&) = delete;
  SimulatedMachine& operator=(const SimulatedMachine&) = delete;

  void Make(const std::string& driver) {
    machine_ = folder_ + "/m" + driver;
    const std::string command = "'" TRANCHE_SIM "' create '" + machine_ +
                                "' --gpu H100-SXM5-80GB:2 --driver " + driver + " >/dev/null";
    ASSERT_EQ(system(command.c_str()), 0);
  }
  const std::string& folder() const { return folder_; }
  const std::string& machine() const { return machine_; }

  std::string UuidOfGpu(int index) const {
    const std::string command = "'" TRANCHE_SIM "' show '" + machine_ + "' -o json";
    std::string text;
    FILE* pipe = popen(command.c_str(), "r");
    for (char some[4096]; pipe != nullptr && fgets(some, sizeof(some), pipe) != nullptr;)
      text += some;
    if (pipe != nullptr) pclose(pipe);
    size_t at = 0;
    for (int i = 0; i <= index; ++i) at = text.find("\"GPU-", at + 1);
    return text.substr(at + 1, text.find('"', at + 1) - at - 1);
  }

  // A program that uses the GPU until it is ended.
  pid_t StartClient(const std::string& pipe_directory) {
    const pid_t child = fork();
    if (child == 0) {
      setenv("CUDA_MPS_PIPE_DIRECTORY", pipe_directory.c_str(), 1);
      freopen("/dev/null", "w", stdout);
      freopen("/dev/null", "w", stderr);
      execl(TRANCHE_SIM, "tranche-sim", "exec", machine_.c_str(), "--", TRANCHE_GPU_SHARER, "sync",
            "1000", "132", "60000", nullptr);
      _exit(127);
    }
    clients_.push_back(child);
    return child;
  }
  void End(pid_t client) {
    kill(client, SIGKILL);
    Reaped(client, 0);
  }
  // It has ended by itself.
  bool HasEnded(pid_t client) { return Reaped(client, WNOHANG); }

  static bool Eventually(const std::function<bool()>& done) {
    for (int i = 0; i < 500; ++i) {
      if (done()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }

 private:
  bool Reaped(pid_t client, int how) {
    if (waitpid(client, nullptr, how) != client) return false;
    std::erase(clients_, client);
    return true;
  }

  std::string folder_, machine_;
  std::vector<pid_t> clients_;
};

}  // namespace tranche
