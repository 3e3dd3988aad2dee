#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "engine/test_world.h"

// As kill_test.cc, of virtual GPUs: before and after every order to the kernel and every program
// that is run.

namespace tranche {
namespace {

Workload Vm(const std::string& name, const std::string& type, int replicas) {
  Workload workload;
  workload.name = name;
  workload.mechanism = Mechanism::kVgpu;
  workload.isolation = {"none", {}, false};
  workload.profile = type;
  workload.replicas = replicas;
  return workload;
}

std::string ReadFile(const std::string& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}
void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path + ".new") << text;
  std::filesystem::rename(path + ".new", path);
}

void Save(World& world, const std::string& folder) {
  WriteFile(folder + "/machine.json", PrintJsonLine(ToJson(world.driver->machine())));
  WriteFile(folder + "/vgpus", world.vgpus->Save());
}
void Load(World& world, const std::string& folder) {
  const auto machine = MachineFromJson(*ParseJson(ReadFile(folder + "/machine.json")));
  ASSERT_TRUE(machine);
  world.driver->Edit([&](Machine& now) { now = *machine; });
  world.vgpus->Load(ReadFile(folder + "/vgpus"));
}

// Old and new are compared by what is there, and whose it is.
std::string StateText(World& world) {
  std::string text = LayoutText(world.driver->machine()) +
                     fmt::format("functions {} mixed {} {}; ", world.vgpus->enabled(),
                                 world.vgpus->mixed, world.vgpus->scheduler);
  const Machine machine = *world.engine().Inventory();
  std::vector<std::string> vgpus;
  for (const VgpuThere& there : machine.gpus[0].vgpu->there)
    vgpus.push_back(fmt::format("{}/{} {}{}", there.workload, there.replica, there.type,
                                there.ours ? "" : " of nobody"));
  std::sort(vgpus.begin(), vgpus.end());
  for (const std::string& one : vgpus) text += one + ", ";
  return text;
}

struct Change {
  const char* name;
  Spec before, after;
};

class VgpuKillTest : public testing::TestWithParam<Change> {};

TEST_P(VgpuKillTest, AtEveryBoundaryTheOldStateOrTheNewOne) {
  const auto& [name, before, after] = GetParam();
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.Open();
  if (!before.workloads.empty()) {
    ASSERT_EQ(world.Apply(before).outcome, ApplyOutcome::kDone);
  }
  const std::string old_state = StateText(world);
  const std::string saved = world.directory + "/saved";
  std::filesystem::create_directories(saved);
  std::string new_state;
  int killed = 0;
  for (int n = 1; n < 200; ++n) {
    SCOPED_TRACE(fmt::format("killed at boundary {}", n));
    world.Close();
    Save(world, saved);
    const pid_t child = fork();
    if (child == 0) {
      int met = 0;
      World inner(TestMachine({TestH100(0, false)}));
      std::filesystem::remove_all(inner.directory);
      inner.directory = world.directory;
      inner.keep = true;
      inner.AddVgpuHost();
      Load(inner, saved);
      inner.boundary = [&](const std::string&) {
        Save(inner, saved);
        if (++met == n) kill(getpid(), SIGKILL);
      };
      inner.Open();
      inner.Apply(after);
      Save(inner, saved);
      _exit(testing::Test::HasFailure() ? 2 : 0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    Load(world, saved);
    world.Open();
    const std::string state = StateText(world);
    if (!WIFSIGNALED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0) << "the work itself failed";
      EXPECT_NE(state, old_state);
      EXPECT_FALSE(world.MakePlan(after).HasChanges());
      EXPECT_GE(killed, 6);
      return;
    }
    ++killed;
    if (state == old_state) continue;
    EXPECT_FALSE(world.MakePlan(after).HasChanges()) << state;
    if (new_state.empty()) new_state = state;
    EXPECT_EQ(state, new_state);
    if (before.workloads.empty()) {
      ASSERT_TRUE(world.engine().Down(world.Options(), nullptr));
    } else {
      ASSERT_EQ(world.Apply(before).outcome, ApplyOutcome::kDone);
    }
    ASSERT_EQ(StateText(world), old_state);
  }
  FAIL() << "it never came to its end";
}

INSTANTIATE_TEST_SUITE_P(
    All, VgpuKillTest,
    testing::Values(Change{"First", SpecOf({}), SpecOf({Vm("a", "H100XM-20C", 2)})},
                    Change{"Larger", SpecOf({Vm("a", "H100XM-20C", 2)}),
                           SpecOf({Vm("a", "H100XM-40C", 1), Vm("b", "H100XM-40C", 1)})},
                    Change{"Mig", SpecOf({}), SpecOf({Vm("a", "H100XM-1-10C", 2)})}),
    [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace tranche
