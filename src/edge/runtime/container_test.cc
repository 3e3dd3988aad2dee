#include "edge/runtime/container.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <thread>

#include "base/json.h"
#include "base/subprocess.h"

namespace tranche {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

ReplicaLaunch InContainer() {
  ReplicaLaunch launch;
  launch.mark = {"0f3a", "phi", 1, 7};
  launch.container = ContainerUse{"example/phi:1", "vllm"};
  launch.argv = {"serve", "--port", "${PORT}"};
  launch.port = 8001;
  launch.uid = 1000;
  launch.gid = 100;
  launch.device_uuid = "MIG-1";
  return launch;
}

// As the runtime composes it.
Variables EnvironmentOf(const ReplicaLaunch& launch, const Variables& secrets = {}) {
  auto all = ComposeEnvironment(launch,
                                {{"PATH", "/opt/bin:/usr/bin"}, {"LD_LIBRARY_PATH", "/opt/driver"}},
                                {"ann", "/home/ann"}, secrets);
  EXPECT_TRUE(all);
  return all.value_or(Variables{});
}

const DeviceUse kByFile;

ContainerPlan Planned(const ReplicaLaunch& launch, const Variables& secrets = {},
                      const DeviceUse& device = kByFile) {
  const auto plan = PlanContainer(launch, "/usr/bin/podman", EnvironmentOf(launch, secrets),
                                  secrets, {{"PATH", "/usr/bin"}, {"CUDA_HOME", "/x"}},
                                  {true, 1024, 4096, 100, 200}, &device);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan.value_or(ContainerPlan{});
}

TEST(PlanContainer, SaysAllThatTheContainerGets) {
  ReplicaLaunch launch = InContainer();
  launch.working_directory = "/srv";
  launch.env = {{"LOG_LEVEL", "debug"}};
  const ContainerPlan plan = Planned(launch);
  EXPECT_THAT(plan.argv,
              ElementsAre("/usr/bin/podman", "run", "--rm", "--name", "tranche-phi-1.0f3a.7",
                          "--network=host", "--security-opt=no-new-privileges",
                          "--log-driver=passthrough", "--device=tranche.dev/slice=phi-1.0f3a",
                          "--user=1000:100", "--ulimit=nofile=1024:4096", "--ulimit=nproc=100:200",
                          "--workdir=/srv", "--entrypoint=vllm", "--env=CUDA_DEVICE_ORDER",
                          "--env=CUDA_VISIBLE_DEVICES", "--env=LOG_LEVEL", "--env=PORT",
                          "--env=TRANCHE_REPLICA", "example/phi:1", "serve", "--port", "8001"));
  EXPECT_EQ(plan.variables.at("PATH"), "/usr/bin") << "podman's own, not the workload's";
  EXPECT_EQ(plan.variables.at("LOG_LEVEL"), "debug");
  EXPECT_EQ(plan.variables.at("CUDA_VISIBLE_DEVICES"), "MIG-1");
  EXPECT_EQ(plan.variables.at("TRANCHE_REPLICA"), "0f3a/phi/1/7");
  EXPECT_EQ(plan.variables.count("CUDA_HOME"), 0u);
}

TEST(PlanContainer, ASecretIsInNoCommandLine) {
  const ContainerPlan plan = Planned(InContainer(), {{"TOKEN", "hunter2"}});
  EXPECT_THAT(plan.argv, Contains("--env=TOKEN"));
  EXPECT_THAT(plan.argv, Not(Contains(HasSubstr("hunter2"))));
  EXPECT_EQ(plan.variables.at("TOKEN"), "hunter2");
  const ReplicaLaunch launch = InContainer();
  const Variables secrets = {{"LD_PRELOAD", "/tmp/x.so"}};
  const auto refused =
      PlanContainer(launch, "podman", EnvironmentOf(launch, secrets), secrets, {}, {}, &kByFile);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalid);
}

TEST(PlanContainer, WhatWouldChangePodmanGoesByValue) {
  ReplicaLaunch launch = InContainer();
  launch.env = {{"PATH", "/app/bin"}, {"HOME", "/app"}};
  const ContainerPlan plan = Planned(launch);
  EXPECT_THAT(plan.argv, Contains("--env=PATH=/app/bin"));
  EXPECT_THAT(plan.argv, Contains("--env=HOME=/app"));
  EXPECT_EQ(plan.variables.at("PATH"), "/usr/bin");
}

TEST(PlanContainer, SharedSlicesSeeTheHostsProcesses) {
  ReplicaLaunch launch = InContainer();
  EXPECT_THAT(Planned(launch).argv, Not(Contains("--pid=host")));
  launch.limiter = LimiterUse{
      "/opt/tranche", "/opt/driver/libcuda.so.1", {"/run/t/1", "/run/t/gpu.turns"}, "", {}};
  EXPECT_THAT(Planned(launch).argv, Contains("--pid=host"));
  launch.limiter->env["CUDA_MPS_PIPE_DIRECTORY"] = "/run/t/mps";
  EXPECT_THAT(Planned(launch).argv, Contains("--ipc=host"));
  launch.limiter->cgroup = "/sys/fs/cgroup/tranche/7";
  EXPECT_THAT(Planned(launch).argv, Contains("--cgroup-parent=/tranche/7"));
  // systemd would have a group by a name of its own.
  EXPECT_EQ(Planned(launch).argv[1], "--cgroup-manager=cgroupfs");
  EXPECT_EQ(Planned(launch).argv[2], "run");
}

// As docker before 25 and whoever may not write device files have it.
TEST(PlanContainer, WithoutADeviceFileTheSliceIsSaidInFull) {
  ReplicaLaunch launch = InContainer();
  DeviceUse use;
  use.by_file = false;
  use.device.nodes = {"/dev/nvidiactl", "/dev/nvidia-caps/nvidia-cap3"};
  use.device.mounts = {
      {"/opt/driver/libcuda.so.580", "/usr/local/lib/tranche-driver/libcuda.so.1", false},
      {"/run/t/table", "/run/t/table", true}};
  use.device.environment = {"LD_LIBRARY_PATH=/usr/local/lib/tranche-driver"};
  const ContainerPlan plan = Planned(launch, {}, use);
  for (const char* flag : {"--device=/dev/nvidiactl", "--device=/dev/nvidia-caps/nvidia-cap3",
                           "--mount=type=bind,source=/opt/driver/libcuda.so.580,"
                           "target=/usr/local/lib/tranche-driver/libcuda.so.1,readonly",
                           "--mount=type=bind,source=/run/t/table,target=/run/t/table",
                           "--env=NVIDIA_VISIBLE_DEVICES=void",
                           "--env=LD_LIBRARY_PATH=/usr/local/lib/tranche-driver"}) {
    EXPECT_THAT(plan.argv, Contains(flag));
  }
  EXPECT_THAT(plan.argv, Not(Contains(HasSubstr("tranche.dev/slice"))));
  EXPECT_THAT(plan.argv, Not(Contains("--env=LD_LIBRARY_PATH"))) << "the host's is not its own";
  use.device.mounts = {{"/opt/a,readonly=false", "/b", false}};
  const auto refused = PlanContainer(launch, "podman", EnvironmentOf(launch), {}, {}, {}, &use);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalid);
}

TEST(PlanContainer, DockerKnowsNoPassthrough) {
  const ReplicaLaunch launch = InContainer();
  const auto plan =
      PlanContainer(launch, "/usr/bin/docker", EnvironmentOf(launch), {}, {}, {}, &kByFile);
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->argv, Not(Contains("--log-driver=passthrough")));
  EXPECT_THAT(plan->argv, Contains("--log-driver=none")) << "docker would keep all of it once more";
  EXPECT_THAT(plan->argv, Contains("--device=tranche.dev/slice=phi-1.0f3a"));
}

TEST(DockerInfo, SaysWhetherDeviceFilesAreRead) {
  const std::string folder = "/var/run/cdi";
  const auto old = ParseDockerInfo(
      R"({"ID":"A","ServerVersion":"20.10.24+dfsg1","CgroupDriver":"systemd"})", folder);
  ASSERT_TRUE(old);
  EXPECT_EQ(old->version, "20.10.24+dfsg1");
  EXPECT_FALSE(old->reads_cdi);
  EXPECT_TRUE(old->systemd_cgroups);
  const auto with = [&](const std::string& folders) {
    return ParseDockerInfo(
        "WARNING: no swap limit support\n{\"ServerVersion\":\"26.1.5\","
        "\"CgroupDriver\":\"cgroupfs\",\"CDISpecDirs\":" +
            folders + "}\nWARNING: more of it\n",
        folder);
  };
  EXPECT_TRUE(with(R"(["/etc/cdi","/var/run/cdi"])")->reads_cdi);
  EXPECT_TRUE(with(R"(["/run/cdi/"])")->reads_cdi) << "which is the same folder";
  EXPECT_FALSE(with(R"(["/etc/cdi"])")->reads_cdi);
  EXPECT_FALSE(with("[]")->reads_cdi) << "it is switched off";
  EXPECT_FALSE(with("null")->reads_cdi);
  EXPECT_FALSE(with("[]")->systemd_cgroups);
}

TEST(DockerInfo, ADaemonThatDoesNotAnswerIsTold) {
  for (const char* text :
       {"", "Cannot connect to the Docker daemon", "[]", "{",
        R"({"ServerErrors":["permission denied while trying to connect"]})", R"({"ID":"A"})"}) {
    const auto info = ParseDockerInfo(text, "/var/run/cdi");
    ASSERT_FALSE(info) << text;
    EXPECT_EQ(info.error().code, ErrorCode::kUnavailable) << text;
    EXPECT_THAT(info.error().message, HasSubstr("does not answer")) << text;
  }
  EXPECT_THAT(ParseDockerInfo("{\"ID\":\"\"}\nCannot connect to it\n", "/x").error().message,
              HasSubstr("Cannot connect"));
  EXPECT_THAT(ParseDockerInfo(R"({"ServerErrors":["permission denied"]})", "/x").error().message,
              HasSubstr("permission denied"));
}

Json Printed(const CdiDevice& device) {
  const auto text = PrintCdi({device});
  EXPECT_TRUE(text) << text.error().message;
  return ParseJson(text.value_or("{}")).value_or(Json::object());
}

TEST(Cdi, TheLowestVersionThatSuffices) {
  EXPECT_EQ(Printed({"phi-0.0f", {"/dev/nvidia0"}, {{"/a", "/a", true}}, {}, ""})["cdiVersion"],
            "0.3.0");
  EXPECT_EQ(Printed({"7b-0.0f", {}, {}, {}, ""})["cdiVersion"], "0.5.0")
      << "a name that begins with a digit";
  const auto with = [](const char* edits) {
    return Printed({"phi-0.0f", {}, {}, {}, edits})["cdiVersion"].get<std::string>();
  };
  EXPECT_EQ(with(R"({"mounts":[{"hostPath":"/a","containerPath":"/a","type":"bind"}]})"), "0.4.0");
  EXPECT_EQ(with(R"({"deviceNodes":[{"path":"/dev/a","hostPath":"/dev/b"}]})"), "0.5.0");
  EXPECT_EQ(with(R"({"additionalGids":[44]})"), "0.7.0");
  EXPECT_EQ(with(R"({"netDevices":[{"hostInterfaceName":"a","name":"b"}]})"), "1.1.0");
}

TEST(Cdi, TheDriversFileIsTakenInAndItsDevicesAreNot) {
  const auto edits = DriverEditsOf(
      "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n  - name: all\n"
      "containerEdits:\n  env:\n    - NVIDIA_VISIBLE_DEVICES=all\n    - A=1\n"
      "  deviceNodes:\n    - path: /dev/nvidiactl\n"
      "  hooks:\n    - hookName: createContainer\n      path: /usr/bin/nvidia-cdi-hook\n"
      "      args: [nvidia-cdi-hook, update-ldcache, --folder, \"/usr/lib\"]\n",
      "nvidia.yaml");
  ASSERT_TRUE(edits);
  const Json file = Printed(
      {"phi-0.0f", {"/dev/nvidiactl", "/dev/nvidia3"}, {{"/l", "/r", false}}, {"B=2"}, *edits});
  const Json& got = file["devices"][0]["containerEdits"];
  EXPECT_EQ(got["env"], Json({"A=1", "NVIDIA_VISIBLE_DEVICES=void", "B=2"}));
  EXPECT_EQ(got["deviceNodes"], Json({{{"path", "/dev/nvidiactl"}}, {{"path", "/dev/nvidia3"}}}));
  EXPECT_EQ(got["hooks"][0]["args"][3], "/usr/lib");
  EXPECT_EQ(got["mounts"][0]["options"][0], "ro");
  EXPECT_EQ(file["devices"].size(), 1u);
  EXPECT_EQ(file["kind"], "tranche.dev/slice");
}

TEST(Cdi, WhoMayNotWriteAFileIsToldSo) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  const CdiDevice device{"phi-0.0f", {}, {}, {}, ""};
  // Also where the folder is not there yet, and not to be made.
  for (const char* folder : {"/", "/tranche-no-such-folder"}) {
    const Status written = WriteCdi(folder, device);
    ASSERT_FALSE(written) << folder;
    EXPECT_EQ(written.error().code, ErrorCode::kPermission) << written.error().message;
  }
}

TEST(Cdi, BadNamesAndFilesAreTold) {
  EXPECT_EQ(PrintCdi({{"a/b", {}, {}, {}, ""}}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(PrintCdi({{"a", {}, {}, {}, "[1]"}}).error().code, ErrorCode::kInvalid);
  const auto broken = DriverEditsOf("a: [", "nvidia.yaml");
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("nvidia.yaml:"));
  EXPECT_EQ(DriverEditsOf("a: 1", "x").value_or("?"), "");
}

// podman itself, with an image that is made of this host's shell.
class ContainerTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    scratch_ = new std::string("/tmp/tranche-container." + std::to_string(getpid()));
    fs::create_directories(*scratch_ + "/image/tmp");
    why_not_ = new std::string(Prepare());
  }
  static void TearDownTestSuite() {
    if (why_not_->empty()) Podman({"system", "reset", "--force"});
    Run({"/bin/sh", "-c",
         "umount -l " + *scratch_ + "/store/*/overlay 2>/dev/null; rm -rf " + *scratch_});
    delete why_not_;
    delete scratch_;
  }

  // What containers need to start even where a host gives little: on a disk of any kind, under
  // either version of cgroups.
  static Variables Settings() {
    return {{"PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"},
            {"HOME", *scratch_},
            {"CONTAINERS_CONF", *scratch_ + "/containers.conf"},
            {"CONTAINERS_STORAGE_CONF", *scratch_ + "/storage.conf"}};
  }
  static Result<ProgramResult> Run(const std::vector<std::string>& argv) {
    SpawnOptions options;
    options.argv = argv;
    options.path = "/usr/bin:/bin:/usr/sbin:/sbin";
    for (const auto& [name, value] : Settings()) options.environment.push_back(name + "=" + value);
    return RunProgram(options, 60s);
  }
  static Result<ProgramResult> Podman(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "podman");
    return Run(arguments);
  }
  // Why containers cannot be run here; "" = they can.
  static std::string Prepare() {
    if (geteuid() != 0) return "device files are written for root's containers";
    if (access("/usr/bin/podman", X_OK) != 0) return "there is no podman";
    std::ofstream(*scratch_ + "/containers.conf")
        << "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n"
        // Else what it knows of running containers is one place of the host, which a reset empties.
        << "tmp_dir = \"" << *scratch_ << "/tmp\"\n"
        << (access("/usr/sbin/runc", X_OK) == 0 ? "runtime = \"runc\"\n" : "");
    std::ofstream(*scratch_ + "/storage.conf")
        << "[storage]\ndriver = \"vfs\"\ngraphroot = \"" << *scratch_ << "/store\"\nrunroot = \""
        << *scratch_ << "/run\"\n";
    const std::string make =
        "set -e; cd '" + *scratch_ +
        "/image'; for p in sh sleep cat ls id; do f=$(command -v $p); for l in $f $(ldd $f | "
        "grep -o '/[^ ]*'); do mkdir -p .$(dirname $l); cp -L $l .$l; done; done; tar -cf "
        "../image.tar .; podman import -q ../image.tar localhost/shell:1";
    const auto made = Run({"/bin/sh", "-c", make});
    if (!made) return made.error().message;
    if (made->end.exit_code != 0) return "no image can be made: " + made->output;
    const auto tried =
        Podman({"run", "--rm", "--network=host", "--ulimit=nofile=512:512",
                "--ulimit=nproc=512:512", "localhost/shell:1", "sh", "-c", "exit 3"});
    if (!tried) return tried.error().message;
    return tried->end.exit_code == 3 ? "" : "containers do not start here: " + tried->output;
  }

  void SetUp() override {
    if (!why_not_->empty()) GTEST_SKIP() << *why_not_;
    clock_ = std::make_shared<SystemClock>();
    runtime_ = Make();
    log_ = *scratch_ + "/log." + testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  std::unique_ptr<Runtime> Make() {
    RuntimeOptions options;
    options.environment = Settings();
    return MakeProcessRuntime(options, clock_);
  }
  ReplicaLaunch Shell(const std::string& script) {
    ReplicaLaunch launch;
    launch.mark = {"t" + std::to_string(getpid()), "phi", 0, ++generation_};
    launch.container = ContainerUse{"localhost/shell:1", "sh"};
    launch.argv = {"-c", script};
    launch.uid = launch.gid = 65534;
    launch.device_uuid = "GPU-1";
    launch.log_path = log_;
    return launch;
  }
  ReplicaPoll WaitForEnd(Runtime& runtime, ProcessId process) {
    while (true) {
      const auto poll = runtime.Poll(process);
      EXPECT_TRUE(poll) << poll.error().message;
      if (!poll || poll->state == ReplicaPoll::State::kEnded) return poll.value_or(ReplicaPoll{});
      std::this_thread::sleep_for(10ms);
    }
  }
  std::string Log() {
    std::ifstream in(log_);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  bool LogHas(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (Log().find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(10ms);
    }
    return true;
  }

  static std::string* scratch_;
  static std::string* why_not_;
  std::shared_ptr<SystemClock> clock_;
  std::unique_ptr<Runtime> runtime_;
  std::string log_;
  uint64_t generation_ = 0;
};
std::string* ContainerTest::scratch_ = nullptr;
std::string* ContainerTest::why_not_ = nullptr;

TEST_F(ContainerTest, RunsWithItsSliceAndAsItsUser) {
  ReplicaLaunch launch = Shell(
      "id -u; echo $CUDA_VISIBLE_DEVICES $NVIDIA_VISIBLE_DEVICES $A $PORT; ls /image; exit 5");
  launch.env = {{"A", "a b"}};
  launch.port = 8123;
  const auto started = runtime_->Start(launch);
  ASSERT_TRUE(started) << started.error().message;
  const std::string file = CdiFile("/var/run/cdi", ContainerName(launch.mark));
  EXPECT_EQ(WaitForEnd(*runtime_, started->process).end.Text(), "exit code 5") << Log();
  EXPECT_TRUE(LogHas("65534\nGPU-1 void a b 8123\n")) << Log();
  EXPECT_THAT(Log(), HasSubstr("No such file")) << "the host's files are not its own";
  EXPECT_FALSE(fs::exists(file)) << "its device goes with it";
}

TEST_F(ContainerTest, IsStoppedByATermAndKilledInTheEnd) {
  auto polite = Shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.1; done");
  const auto first = runtime_->Start(polite);
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_TRUE(LogHas("ready")) << Log();
  const auto ended = runtime_->StopAndWait(first->process, 60s);
  ASSERT_TRUE(ended) << ended.error().message;
  EXPECT_FALSE(ended->killed);
  EXPECT_THAT(Log(), HasSubstr("bye"));

  auto deaf = Shell("trap '' TERM; echo deaf; while :; do sleep 0.1; done");
  const auto second = runtime_->Start(deaf);
  ASSERT_TRUE(second) << second.error().message;
  ASSERT_TRUE(LogHas("deaf")) << Log();
  const auto killed = runtime_->StopAndWait(second->process, 1s);
  ASSERT_TRUE(killed) << killed.error().message;
  EXPECT_TRUE(killed->killed);
  const auto rest = runtime_->FindOrphans(deaf.mark.deployment);
  ASSERT_TRUE(rest);
  EXPECT_THAT(*rest, testing::IsEmpty()) << "nothing of it is left in the container";
}

TEST_F(ContainerTest, OutlivesTheDaemonAndIsAdopted) {
  const auto launch = Shell("echo ready; while :; do sleep 0.1; done");
  const auto started = runtime_->Start(launch);
  ASSERT_TRUE(started) << started.error().message;
  ASSERT_TRUE(LogHas("ready")) << Log();
  runtime_ = Make();
  const auto orphans = runtime_->FindOrphans(launch.mark.deployment);
  ASSERT_TRUE(orphans);
  // The program in the container is among them, by its mark.
  ASSERT_GE(orphans->size(), 2u);
  EXPECT_EQ(orphans->front().process, started->process);
  EXPECT_EQ(orphans->front().mark, launch.mark);
  ASSERT_TRUE(runtime_->Adopt(started->process, launch.mark));
  // Killed from outside, as by the kernel for want of memory.
  for (const Orphan& orphan : *orphans) {
    if (orphan.process != started->process) kill(orphan.process.pid, SIGKILL);
  }
  EXPECT_EQ(WaitForEnd(*runtime_, started->process).state, ReplicaPoll::State::kEnded);
}

TEST_F(ContainerTest, WhatCannotBeRunIsTold) {
  auto launch = Shell("");
  launch.container->entrypoint = "/no/such/program";
  const auto started = runtime_->Start(launch);
  ASSERT_TRUE(started) << started.error().message;
  EXPECT_EQ(WaitForEnd(*runtime_, started->process).end.Text(), "exit code 127");
  EXPECT_TRUE(LogHas("/no/such/program")) << Log();
}

}  // namespace
}  // namespace tranche
