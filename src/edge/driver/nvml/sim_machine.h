#pragma once

#include <string>
#include <vector>

// A simulated machine of its own for a test, made with tranche-sim and shown to this process. Only
// tests use it.

namespace tranche {

class SimMachine {
 public:
  // `options` as for `tranche-sim create DIR`: "--gpu H100-SXM5-80GB --mig".
  explicit SimMachine(const std::string& options);
  ~SimMachine();
  SimMachine(const SimMachine&) = delete;
  SimMachine& operator=(const SimMachine&) = delete;

  // The libnvidia-ml.so.1 of this machine.
  std::string library() const;
  // Runs `tranche-sim VERB DIR OPTIONS` and returns what it printed; the test fails when it fails.
  std::string Run(const std::string& verb, const std::string& options = "") const;
  // Takes symbols out of the library, for drivers opened after it.
  void TakeSymbols(const std::vector<std::string>& symbols) const;
  // `tranche-sim attach`: the pid. The process is ended with the machine.
  int Attach(const std::string& options);
  void Detach(int pid);
  // Takes the right to look at MIG instances from ordinary users.
  void HideMigFromUsers() const;
  // The same machine as seen by this user, for drivers opened while no other is, until the object
  // goes.
  void BecomeUser(unsigned uid) const;

 private:
  std::string dir_;
  std::vector<int> pids_;
};

}  // namespace tranche
