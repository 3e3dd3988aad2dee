#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/json.h"
#include "engine/test_world.h"

// Ends the process with SIGKILL at every boundary of applying a plan (before, within and after
// every call that changes something outside), opens the state again, and looks whether the machine
// is in the old state or in the new one, with nothing of somebody else's touched. What is between
// two boundaries is either one transaction of the database or nothing at all, so the boundaries are
// all the instants there are.

namespace tranche {
namespace {

constexpr int kShards = 4;
constexpr int kForeignPid = 4242;
const std::string kGpu = TestGpuUuid(0);

// The hardware's memory: what a process that is killed leaves to the next.
void SaveMachine(const Machine& machine, const std::string& path) {
  const std::string fresh = path + ".new";
  std::ofstream(fresh) << PrintJsonLine(ToJson(machine));
  std::filesystem::rename(fresh, path);
}

Machine LoadMachine(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  const Result<Json> json = ParseJson(text.str());
  const Result<Machine> machine = json ? MachineFromJson(*json) : tl::unexpected(json.error());
  EXPECT_TRUE(machine) << machine.error().message;
  return machine ? *machine : Machine();
}

// Every replica that runs, by the version it was started from, in one line.
std::string WorkloadsText(World& world) {
  std::string text;
  const Result<SystemStatus> status = world.engine().GetStatus();
  for (const ReplicaStatus& replica : status->replicas) {
    text += fmt::format("{}/{} v{} {}; ", replica.workload, replica.replica,
                        world.Variable(replica.workload, replica.replica, "VERSION"),
                        replica.pid ? "runs" : ReplicaStateName(replica.state));
  }
  return text;
}

std::string StateText(World& world) {
  return LayoutText(world.driver->machine()) + WorkloadsText(world);
}

Spec OldSpec() {
  return SpecOf({Sleeper("keeper", GiB(9)), Sleeper("leaver", GiB(9)), Sleeper("changer", GiB(9))});
}

// Against OldSpec: MIG mode on, two destroyed or made room of, four made, one restarted, four
// started.
Spec NewSpec() {
  return SpecOf({Sleeper("keeper", GiB(9)), Sleeper("changer", GiB(9), "2"),
                 Sleeper("half", GiB(35)), Sleeper("other", GiB(35)), Sleeper("quarter", GiB(15))});
}

class KillTest : public testing::TestWithParam<int> {
 protected:
  // Runs `work` in a process of its own, which is killed at the n-th boundary. True when it came to
  // its end before that. The machine as that process left it is in the file.
  bool RunAndKill(World& world, int n, const std::function<void(World&)>& work) {
    const std::string path = world.directory + "/machine.json";
    SaveMachine(world.driver->machine(), path);
    const pid_t child = fork();
    if (child == 0) {
      int met = 0;
      World inner(LoadMachine(path));
      std::filesystem::remove_all(inner.directory);
      inner.directory = world.directory;
      inner.keep = true;
      inner.boundary = [&](const std::string&) {
        SaveMachine(inner.driver->machine(), path);
        if (++met == n) kill(getpid(), SIGKILL);
      };
      work(inner);
      _exit(testing::Test::HasFailure() ? 2 : 0);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    const Machine left = LoadMachine(path);
    world.driver->Edit([&](Machine& machine) { machine = left; });
    if (WIFSIGNALED(status)) {
      EXPECT_EQ(WTERMSIG(status), SIGKILL);
      return false;
    }
    EXPECT_EQ(WEXITSTATUS(status), 0) << "the work itself failed";
    return true;
  }

  // Processes that carry a mark of this world, wherever they are.
  static int MarkedProcesses(const std::string& deployment_prefix) {
    int count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const auto mark = ReadProcessVariable(std::stoi(name), "TRANCHE_REPLICA");
      const auto stat = ReadProcessStat(std::stoi(name));
      if (mark && stat && stat->state != 'Z' && mark->rfind(deployment_prefix, 0) == 0) ++count;
    }
    return count;
  }

  static int Running(World& world) {
    int running = 0;
    const Result<SystemStatus> status = world.engine().GetStatus();
    for (const ReplicaStatus& replica : status->replicas) {
      running += replica.pid ? 1 : 0;
    }
    return running;
  }

  static std::string DeploymentId(World& world) {
    const Result<std::unique_ptr<Store>> store = Store::Open(world.directory + "/tranche.db");
    EXPECT_TRUE(store);
    return store ? (*store)->deployment_id() : "";
  }
};

TEST_P(KillTest, AtEveryBoundaryTheOldStateOrTheNewOne) {
  World world(TestMachine({TestH100(0), TestH100(1, false)}));
  // Somebody else's instance, with somebody else's process on it.
  ASSERT_TRUE(world.driver->CreateInstance(kGpu, "1g.10gb", {6, 1}));
  GpuProcess process;
  process.pid = kForeignPid;
  process.command = "python3 train.py";
  process.gpu_instance = world.driver->machine().gpus[0].mig_instances[0].id;
  world.driver->AttachProcess(kGpu, process);
  const std::string foreign =
      world.driver->machine().gpus[0].mig_instances[0].compute_instances[0].uuid;

  world.Open();
  ASSERT_EQ(world.Apply(OldSpec()).outcome, ApplyOutcome::kDone);
  const std::string old_state = StateText(world);
  const Plan plan = world.MakePlan(NewSpec());
  int steps = 0;
  for (const Step& step : plan.steps) steps += step.change != Change::kKeep ? 1 : 0;
  std::string shown;
  for (const Step& step : plan.steps) {
    shown += fmt::format("{} {}\n", StepKindName(step.kind), step.target);
  }
  ASSERT_GE(steps, 12) << shown;
  std::string new_state;

  int killed = 0, undone = 0;
  for (int n = 1 + GetParam();; n += kShards) {
    SCOPED_TRACE(fmt::format("killed at boundary {}", n));
    world.Close();
    const std::string id = DeploymentId(world);
    const bool completed = RunAndKill(world, n, [](World& inner) {
      inner.Open();
      EXPECT_EQ(inner.Apply(NewSpec()).outcome, ApplyOutcome::kDone);
    });
    if (!completed) {
      ++killed;
      // Now and then the recovery is killed as well, somewhere.
      if (n % 3 == 0) RunAndKill(world, n % 7 + 1, [](World& inner) { inner.Open(); });
    }

    world.Open();
    const std::string state = StateText(world);
    if (completed) {
      EXPECT_NE(state, old_state);
      break;
    }
    const Machine machine = world.driver->machine();
    EXPECT_EQ(MarkedProcesses(id), Running(world)) << "a process that nobody looks after";
    const MigInstance* theirs = machine.gpus[0].FindInstance({6, 1});
    ASSERT_NE(theirs, nullptr);
    EXPECT_EQ(theirs->compute_instances.at(0).uuid, foreign);
    ASSERT_EQ(machine.gpus[0].processes.size(), 1u);
    EXPECT_EQ(machine.gpus[0].processes[0].pid, kForeignPid);
    EXPECT_TRUE(world.engine().GetStatus()->warnings.size() <= 1);
    if (state == old_state) {
      ++undone;
      continue;
    }
    // Then it is the new one: nothing is left to be done, and every shard agrees on what it looks
    // like.
    EXPECT_FALSE(world.MakePlan(NewSpec()).HasChanges()) << state;
    if (new_state.empty()) new_state = state;
    EXPECT_EQ(state, new_state);
    ASSERT_EQ(world.Apply(OldSpec()).outcome, ApplyOutcome::kDone);
    ASSERT_EQ(WorkloadsText(world), old_state.substr(old_state.rfind('\n') + 1));
  }
  EXPECT_GE(killed, 6);
  EXPECT_GE(undone, 4);
}

INSTANTIATE_TEST_SUITE_P(Shards, KillTest, testing::Range(0, kShards));

}  // namespace
}  // namespace tranche
