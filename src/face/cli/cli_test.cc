#include "face/cli/cli.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent/fake_engine.h"
#include "base/json.h"
#include "face/cli/files.h"
#include "face/cli/replica_name.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

// A signal comes after so many looks.
class CountedInterrupts final : public Interrupts {
 public:
  explicit CountedInterrupts(int looks) : looks_(looks) {}
  bool Wait(Duration) override { return looks_-- <= 0; }
  bool WaitForInput() override { return looks_ > 0; }

 private:
  int looks_;
};

class CliTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/cli.XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  int Run(const std::vector<std::string>& words) {
    out_.str("");
    err_.str("");
    World world{
        .out = out_,
        .err = err_,
        .in = in_,
        .in_tty = tty_,
        .err_tty = tty_,
        .environment = [](const std::string&) { return std::nullopt; },
        .version = "1.2.3",
        .clock = std::make_shared<ManualClock>(),
        .sockets = {directory_ + "/none"},
        .load_catalog = Catalog::Load,
        .open_driver = []() -> Result<std::unique_ptr<Driver>> {
          return Fail(ErrorCode::kUnavailable, "no NVML here");
        },
        .open_engine = [this]() -> Result<std::unique_ptr<Engine>> { return std::move(engine_); },
        .catch_interrupts = [this] { return std::make_unique<CountedInterrupts>(looks_); }};
    return RunCli(words, world);
  }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    return path;
  }
  std::string Spec(const std::string& memory = "8GiB", const std::string& fleet = "") {
    return Write("spec.yaml", "version: 1\n" + fleet +
                                  "workloads: [{name: phi, isolation: hardware, memory: " + memory +
                                  ", command: [sleep, \"1\"]}]\n");
  }

  static constexpr const char* kFleet =
      "fleet: [{gpu: H100-SXM5-80GB, count: 1, price_per_hour: 2.4}]\n";

  std::string directory_;
  std::ostringstream out_;
  std::ostringstream err_;
  std::istringstream in_;
  bool tty_ = false;
  int looks_ = 3;
  std::unique_ptr<FakeEngine> engine_ = std::make_unique<FakeEngine>();
};

TEST_F(CliTest, EveryVerbHasHelpWithAnExampleFirst) {
  EXPECT_EQ(Run({}), 0);
  const std::string all = out_.str();
  for (const auto& verb : AllVerbs()) {
    const std::string name = verb->info().name;
    EXPECT_NE(all.find("\n  " + name + " "), std::string::npos) << name;
    EXPECT_EQ(Run({name, "--help"}), 0);
    const std::string help = out_.str();
    EXPECT_LT(help.find("tranche " + name), help.find("Usage:")) << name;
    EXPECT_EQ(Run({"help", name}), 0);
    EXPECT_EQ(out_.str(), help);
    EXPECT_EQ(err_.str(), "");
  }
}

// docs/cli.md knows every verb, every option and every exit code.
TEST_F(CliTest, NothingIsUndocumented) {
  std::ifstream file(std::string(TRANCHE_SOURCE_DIR) + "/docs/cli.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string page = text.str();
  for (const auto& verb : AllVerbs()) {
    EXPECT_NE(page.find("`" + verb->info().name), std::string::npos) << verb->info().name;
    Arguments arguments;
    verb->Declare(arguments);
    for (const std::string& name : arguments.Names()) {
      EXPECT_NE(page.find(name), std::string::npos) << verb->info().name << " " << name;
    }
  }
  for (const ErrorCode code :
       {ErrorCode::kFailed, ErrorCode::kDoesNotFit, ErrorCode::kStale, ErrorCode::kPartial,
        ErrorCode::kBusy, ErrorCode::kInvalid, ErrorCode::kUnavailable, ErrorCode::kPermission,
        ErrorCode::kInterrupted}) {
    const std::string row =
        "| " + std::to_string(ExitCodeOf(code)) + " | `" + ErrorCodeName(code) + "`";
    EXPECT_NE(page.find(row), std::string::npos) << row;
  }
}

TEST_F(CliTest, UsageErrorsAre64WithASuggestion) {
  EXPECT_EQ(Run({"invetory"}), 64);
  EXPECT_NE(err_.str().find("did you mean 'inventory'?"), std::string::npos);
  EXPECT_EQ(out_.str(), "");
  EXPECT_EQ(Run({"plan", "--explian", "-f", "x"}), 64);
  EXPECT_NE(err_.str().find("did you mean '--explain'?"), std::string::npos);
  EXPECT_EQ(Run({"status", "-o", "jsn"}), 64);
  EXPECT_EQ(Run({"status", "--color", "blue"}), 64);
  EXPECT_EQ(Run({"plan"}), 64);
  EXPECT_EQ(Run({"apply"}), 64);
  EXPECT_EQ(Run({"logs"}), 64);
  EXPECT_EQ(Run({"logs", "phi/x"}), 64);
  EXPECT_EQ(Run({"catalog", "mig", "L40S"}), 64);
  EXPECT_EQ(Run({"catalog", "mig", "--layouts"}), 64);
  EXPECT_EQ(Run({"catalog", "models", "H100-SXM5-80GB"}), 64);
}

TEST_F(CliTest, ErrorsAreJsonOnStdoutWhenJsonIsAsked) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"invetory", "-o", "json"},
                                             {"-o", "json", "status"},
                                             {"plan", "--bad", "--output=json"}}) {
    const int code = Run(words);
    const auto json = ParseJson(out_.str());
    ASSERT_TRUE(json) << out_.str();
    EXPECT_FALSE((*json)["error"]["message"].get<std::string>().empty());
    EXPECT_TRUE(code == 64 || code == 69);
    EXPECT_NE(err_.str(), "");
  }
}

TEST_F(CliTest, NoDaemonIs69WithWhatToDo) {
  EXPECT_EQ(Run({"status"}), 69);
  EXPECT_NE(err_.str().find("tranched"), std::string::npos);
  EXPECT_EQ(Run({"inventory"}), 69);
}

TEST_F(CliTest, PlansOnPaperWithoutAnything) {
  EXPECT_EQ(Run({"plan", "-f", Spec("8GiB", kFleet)}), 0);
  const std::string text = out_.str();
  EXPECT_NE(text.find("\nPlan: "), std::string::npos);
  EXPECT_EQ(text.rfind("Plan: "), text.rfind('\n', text.size() - 2) + 1)
      << "the totals are the last line";
  EXPECT_EQ(Run({"plan", "-f", Spec("8GiB", kFleet), "--detailed-exitcode"}), 2);
  EXPECT_EQ(Run({"plan", "-f", Spec("800GiB", kFleet), "--detailed-exitcode"}), 3);
  EXPECT_EQ(Run({"plan", "-f", Spec("8GiB")}), 69);  // nothing to plan on
}

TEST_F(CliTest, AKeptPlanIsTheShownPlan) {
  const std::string kept = directory_ + "/plan.json";
  ASSERT_EQ(Run({"plan", "-f", Spec("8GiB", kFleet), "--out", kept, "-o", "json"}), 0);
  EXPECT_EQ(*ReadWholeFile(kept, 1 << 20), out_.str());
  EXPECT_TRUE(LoadPlan(kept));
  EXPECT_EQ(Run({"plan", "-f", Spec("8GiB", kFleet), "--out", directory_ + "/no/such/folder"}), 1);
}

TEST_F(CliTest, AllMistakesOfASpecAtOnce) {
  const std::string path =
      Write("bad.yaml", "version: 1\nworkloads:\n  - {nmae: x}\n  - {name: y, memroy: 1GiB}\n");
  EXPECT_EQ(Run({"plan", "-f", path}), 64);
  EXPECT_NE(err_.str().find("'nmae'"), std::string::npos) << err_.str();
  EXPECT_NE(err_.str().find("'memroy'"), std::string::npos);
  EXPECT_NE(err_.str().find("nothing was changed"), std::string::npos);
}

TEST_F(CliTest, NobodyToAskMeansNo) {
  EXPECT_EQ(Run({"apply", "-f", Spec(), "--local"}), 64);
  EXPECT_NE(err_.str().find("--yes"), std::string::npos);
  EXPECT_EQ(Run({"down", "--local"}), 64);
  EXPECT_NE(engine_, nullptr);  // nobody opened it
}

TEST_F(CliTest, AFleetCannotBeApplied) {
  EXPECT_EQ(Run({"apply", "--yes", "-f", Spec("8GiB", kFleet)}), 64);
}

TEST_F(CliTest, LocalSupervisesUntilASignalAndStopsEverything) {
  int ticks = 0;
  int stop_alls = 0;
  FakeEngine* engine = engine_.get();
  engine->during_stop_all = [&] {
    ++stop_alls;
    ticks = engine->ticks;
  };
  looks_ = 3;
  EXPECT_EQ(Run({"apply", "-f", Spec(), "--yes", "--local"}), 130);
  EXPECT_EQ(stop_alls, 1);
  EXPECT_GE(ticks, 2);
  EXPECT_NE(err_.str().find("the GPUs keep their layout"), std::string::npos);
}

TEST_F(CliTest, AnApplyThatIsRefusedStopsNothing) {
  int stop_alls = 0;
  engine_->during_stop_all = [&] { ++stop_alls; };
  engine_->refuse_apply = Error{ErrorCode::kBusy, "pid 7 is in the way"};
  EXPECT_EQ(Run({"apply", "-f", Spec(), "--yes", "--local"}), 6);
  EXPECT_EQ(stop_alls, 0);
}

TEST(ReplicaName, IsAWorkloadOrOneOfIts) {
  EXPECT_EQ(ParseReplicaName("phi")->replica, std::nullopt);
  EXPECT_EQ(ParseReplicaName("phi/2")->replica, 2);
  for (const char* text : {"", "/", "phi/", "phi/-1", "phi/1x", "phi/1/2"})
    EXPECT_FALSE(ParseReplicaName(text)) << text;
  SystemStatus status;
  status.replicas.resize(2);
  status.replicas[0].workload = status.replicas[1].workload = "phi";
  status.replicas[1].replica = 1;
  EXPECT_EQ(*FindReplicas(status, {"phi", std::nullopt}), (std::vector<int>{0, 1}));
  EXPECT_EQ(*FindReplicas(status, {"phi", 1}), (std::vector<int>{1}));
  EXPECT_EQ(FindReplicas(status, {"phi", 7}).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(FindReplicas(status, {"phy", std::nullopt}).error().hint, "did you mean 'phi'?");
}

}  // namespace
}  // namespace tranche
