// What is imported, planned and exported, through all the stages.
#include <gmock/gmock.h>

#include <random>
#include <set>
#include <string>

#include "base/json.h"
#include "base/yaml.h"
#include "face/cli/interchange_testing.h"

namespace tranche {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kTwoSlices = R"(version: 1
workloads:
  - {name: phi, isolation: hardware, mechanism: mig, memory: 18GiB, image: "vllm/vllm-openai:latest",
     args: ["--model", "microsoft/phi-4", "--port", "${PORT}"], route: /phi, replicas: 2}
  - {name: job, isolation: hardware, mechanism: mig, memory: 9GiB, command: [python, "train $1.py"]}
)";

TEST(Export, ShellMakesTheSlicesByTheIdsOfTheDriver) {
  const Machine machine = MachineOf("H100-SXM5-80GB", 1);
  const Plan plan = PlanOf(kTwoSlices, machine);
  const auto exported = Export("shell", {plan, TheCatalog(), &machine});
  ASSERT_TRUE(exported);
  const std::string text = FileOf(*exported, "gpus.sh");
  EXPECT_THAT(text, HasSubstr("nvidia-smi -i GPU-00000000-0000-0000-0000-000000000000 -mig 1"));
  const std::string id = fmt::format("{}", machine.gpus[0].FindProfile("1g.20gb")->id);
  EXPECT_THAT(text, HasSubstr("PHI_0=$(make_slice GPU-00000000-0000-0000-0000-000000000000 " + id));
  EXPECT_THAT(text, HasSubstr("--gpus \"\\\"device=$PHI_0\\\"\""));
  EXPECT_THAT(text, HasSubstr("env CUDA_VISIBLE_DEVICES=\"$JOB_0\" python 'train $1.py' &"));
  // A driver may number its profiles as it likes.
  Machine renumbered = machine;
  for (MigProfile& profile : renumbered.gpus[0].mig_profiles) profile.id += 100;
  const auto other = Export("shell", {plan, TheCatalog(), &renumbered});
  EXPECT_THAT(FileOf(*other, "gpus.sh"),
              HasSubstr(fmt::format("make_slice {} {} ", machine.gpus[0].uuid,
                                    renumbered.gpus[0].FindProfile("1g.20gb")->id)));
  // Without the machine they go by name, and that is said.
  const auto without = Export("shell", {plan, TheCatalog()});
  EXPECT_THAT(FileOf(*without, "gpus.sh"), HasSubstr(" 1g.20gb "));
  EXPECT_THAT(NotesOf(*without), HasSubstr("given by name"));
}

TEST(Export, SlicesThatAreThereAreNamedByTheirUuid) {
  Machine machine = MachineOf("H100-SXM5-80GB", 1);
  const Plan plan = PlanOf(kTwoSlices, machine);
  for (const Assignment& assignment : plan.assignments) {
    MigInstance instance;
    instance.id = 1 + static_cast<int>(machine.gpus[0].mig_instances.size());
    instance.profile = assignment.slice.profile;
    instance.placement = *assignment.slice.placement;
    MigComputeInstance compute;
    compute.uuid = fmt::format("MIG-{}", instance.id);
    instance.compute_instances.push_back(compute);
    machine.gpus[0].mig_instances.push_back(instance);
  }
  const std::string compose =
      FileOf(*Export("compose", {plan, TheCatalog(), &machine}), "compose.yaml");
  EXPECT_THAT(compose, AllOf(HasSubstr("device_ids: [\"MIG-1\"]"), HasSubstr("phi-1:")));
  ExportInput input{plan, TheCatalog(), &machine};
  EXPECT_EQ(Export("cdi", input).error().code, ErrorCode::kUnsupported);
  for (int i = 1; i <= 3; ++i) {
    input.mig_minors[fmt::format("gpu0/gi{}/access", i)] = 30 + 2 * i;
    input.mig_minors[fmt::format("gpu0/gi{}/ci0/access", i)] = 31 + 2 * i;
  }
  const auto cdi = ParseJson(Export("cdi", input)->files.front().text);
  ASSERT_TRUE(cdi);
  EXPECT_EQ((*cdi)["cdiVersion"], "0.3.0") << "the lowest that has what it says";
  EXPECT_EQ((*cdi)["devices"][0]["containerEdits"]["env"][0], "NVIDIA_VISIBLE_DEVICES=void");
  EXPECT_EQ((*cdi)["devices"].size(), 3u);
  std::set<std::string> nodes;
  for (const Json& node : (*cdi)["devices"][0]["containerEdits"]["deviceNodes"])
    nodes.insert(node["path"].get<std::string>());
  EXPECT_EQ(nodes,
            (std::set<std::string>{"/dev/nvidia-caps/nvidia-cap32", "/dev/nvidia-caps/nvidia-cap33",
                                   "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia0",
                                   "/dev/nvidiactl"}));
}

double UtilizationOf(const std::string& line) {
  const std::string flag = "--gpu-memory-utilization ";
  const size_t at = line.rfind(flag);
  return at == std::string::npos ? -1 : std::stod(line.substr(at + flag.size()));
}

std::vector<double> Utilizations(const std::string& text) {
  std::vector<double> all;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const double one = text[at] == '#' ? -1 : UtilizationOf(text.substr(at, end - at));
    if (one >= 0) all.push_back(one);
    at = end + 1;
  }
  return all;
}

TEST(Export, VllmSharesSumToNineTenths) {
  const Machine h100 = MachineOf("H100-SXM5-80GB", 1);
  const Bytes usable = h100.gpus[0].memory_total - Bytes{h100.gpus[0].memory_total.value / 60};
  const Plan halves =
      SharedPlan(Mechanism::kMps, h100, {Bytes{usable.value / 2}, Bytes{usable.value / 2}},
                 "vllm/vllm-openai:latest");
  const auto mps = Export("vllm", {halves, TheCatalog(), &h100});
  EXPECT_THAT(Utilizations(FileOf(*mps, "vllm.sh")), testing::ElementsAre(0.45, 0.45));
  EXPECT_THAT(NotesOf(*mps), HasSubstr("lowered to 0.45"));
  EXPECT_THAT(FileOf(*mps, "vllm.sh"), HasSubstr("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50"));

  const Machine l40s = MachineOf("L40S", 1);
  const Bytes whole = l40s.gpus[0].memory_total - Bytes{l40s.gpus[0].memory_total.value / 60};
  const Bytes third{whole.value / 3 >> 20 << 20};
  const Plan thirds =
      SharedPlan(Mechanism::kTimeSlicing, l40s, {third, third, third}, "vllm/vllm-openai:latest");
  EXPECT_THAT(Utilizations(FileOf(*Export("vllm", {thirds, TheCatalog(), &l40s}), "vllm.sh")),
              testing::ElementsAre(0.30, 0.30, 0.30));
}

TEST(Export, ClientsOfMpsWithinAnInstanceAreToldOfTheInstance) {
  const Machine machine = MachineOf("H100-SXM5-80GB", 1);
  Plan plan = SharedPlan(Mechanism::kMps, machine, {GiB(20), GiB(10)}, "vllm/vllm-openai:latest");
  for (Assignment& assignment : plan.assignments) {
    assignment.slice.profile = "3g.40gb";
    assignment.slice.placement = MigPlacement{4, 4};
    assignment.slice.compute_fraction = 0.2;
  }
  const std::string text = FileOf(*Export("shell", {plan, TheCatalog(), &machine}), "gpus.sh");
  EXPECT_THAT(text, HasSubstr("GPU0_AT_4=$(make_slice GPU-"));
  EXPECT_THAT(text, HasSubstr("mps() { env CUDA_VISIBLE_DEVICES=\"$GPU0_AT_4\""));
  EXPECT_THAT(text, HasSubstr("-v /run/nvidia-mps/gpu0-at-4/pipe:/run/nvidia-mps/gpu0-at-4/pipe"));
  EXPECT_THAT(text, Not(HasSubstr("EXCLUSIVE_PROCESS")));
  // Of 60 of the 132 SMs.
  EXPECT_THAT(text, HasSubstr("set_default_active_thread_percentage 44\""));
  // Of 40 GB, not of 80.
  EXPECT_THAT(Utilizations(text), testing::ElementsAre(0.46, 0.23));
  // The other formats say it as well, but for two that have no such thing.
  const auto units = Export("systemd", {plan, TheCatalog(), &machine});
  ASSERT_TRUE(units);
  EXPECT_THAT(FileOf(*units, "tranche-mps-gpu0-at-4.service"),
              AllOf(HasSubstr("Requires=tranche-slices.service"),
                    HasSubstr("env CUDA_VISIBLE_DEVICES=${GPU0_AT_4} nvidia-cuda-mps-control -d\n"),
                    Not(HasSubstr("EXCLUSIVE_PROCESS"))));
  EXPECT_THAT(
      FileOf(*units, "tranche-w0-0.service"),
      AllOf(HasSubstr("BindsTo=tranche-mps-gpu0-at-4.service"), HasSubstr("device=${GPU0_AT_4}"),
            HasSubstr("-v /run/nvidia-mps/gpu0-at-4/pipe:")));
  const std::string slices = FileOf(*units, "slices.sh");
  EXPECT_EQ(slices.find("echo \"GPU0_AT_4="), slices.rfind("echo \"GPU0_AT_4="));
  EXPECT_THAT(slices, HasSubstr("echo \"GPU0_AT_4=$GPU0_AT_4\""));
  EXPECT_THAT(
      FileOf(*Export("compose", {plan, TheCatalog(), &machine}), "compose.yaml"),
      AllOf(HasSubstr("device_ids: [\"${GPU0_AT_4:?"),
            HasSubstr("\"/run/nvidia-mps/gpu0-at-4/pipe:/run/nvidia-mps/gpu0-at-4/pipe\"")));
  EXPECT_THAT(FileOf(*Export("vllm", {plan, TheCatalog(), &machine}), "vllm.sh"),
              AllOf(HasSubstr("CUDA_VISIBLE_DEVICES=\"$GPU0_AT_4\""),
                    HasSubstr("CUDA_MPS_PIPE_DIRECTORY=/run/nvidia-mps/gpu0-at-4/pipe")));
  const auto kubernetes = Export("kubernetes", {plan, TheCatalog(), &machine});
  ASSERT_FALSE(kubernetes);
  EXPECT_EQ(kubernetes.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(kubernetes.error().message, HasSubstr("device plugin stops with an error"));
  const auto namespaces = Export("mps", {plan, TheCatalog(), &machine});
  ASSERT_FALSE(namespaces);
  EXPECT_THAT(namespaces.error().hint, HasSubstr("within a MIG instance"));
}

// Two workloads with SMs of their own, 8 and 4 chunks of 8 of the 132 SMs.
Plan PartitionedPlan(const Machine& machine, const std::string& image) {
  Plan plan = SharedPlan(Mechanism::kMps, machine, {GiB(20), GiB(10)}, image);
  for (size_t i = 0; i < plan.assignments.size(); ++i) {
    plan.assignments[i].slice.compute_fraction = (i == 0 ? 64.0 : 32.0) / 132;
    plan.spec.workloads[i].isolation.axes.compute = Guarantee::kDriver;
  }
  return plan;
}

TEST(Export, StaticPartitionsAreMadeAndNamedToTheirClients) {
  const Machine machine = MachineOf("H100-SXM5-80GB", 1);
  const Plan plan = PartitionedPlan(machine, "vllm/vllm-openai:latest");
  const std::string text = FileOf(*Export("shell", {plan, TheCatalog(), &machine}), "gpus.sh");
  EXPECT_THAT(text, AllOf(HasSubstr("\nmps -d -S\n"),
                          HasSubstr("W0_0_SMS=$(sm_partition " + machine.gpus[0].uuid + " 64)"),
                          HasSubstr("W1_0_SMS=$(sm_partition " + machine.gpus[0].uuid + " 32)"),
                          HasSubstr("-e CUDA_MPS_SM_PARTITION=\"$W0_0_SMS\"")));
  // It would say nothing there.
  EXPECT_THAT(text, Not(HasSubstr("ACTIVE_THREAD_PERCENTAGE")));
  EXPECT_THAT(text, Not(HasSubstr("active_thread_percentage")));
  const auto units = Export("systemd", {plan, TheCatalog(), &machine});
  EXPECT_THAT(FileOf(*units, "tranche-mps-gpu0.service"),
              AllOf(HasSubstr("nvidia-cuda-mps-control -d -S\n"),
                    HasSubstr("/run/tranche-export/gpu0.env W0_0_SMS=64 W1_0_SMS=32\n")));
  EXPECT_THAT(FileOf(*units, "tranche-w1-0.service"),
              AllOf(HasSubstr("EnvironmentFile=/run/tranche-export/gpu0.env"),
                    HasSubstr("-e CUDA_MPS_SM_PARTITION=${W1_0_SMS}")));
  EXPECT_THAT(FileOf(*Export("compose", {plan, TheCatalog(), &machine}), "compose.yaml"),
              HasSubstr("CUDA_MPS_SM_PARTITION: \"${W0_0_SMS:?"));
  const auto vllm = Export("vllm", {plan, TheCatalog(), &machine});
  EXPECT_THAT(FileOf(*vllm, "vllm.sh"), HasSubstr("CUDA_MPS_SM_PARTITION=\"$W0_0_SMS\""));
  EXPECT_THAT(NotesOf(*vllm), HasSubstr("set W1_0_SMS"));
  EXPECT_THAT(NotesOf(*Export("kubernetes", {plan, TheCatalog(), &machine})),
              HasSubstr("no static partitions"));
  // Who names no program is told what its own would be told.
  EXPECT_THAT(
      FileOf(*Export("shell", {PartitionedPlan(machine, ""), TheCatalog(), &machine}), "gpus.sh"),
      HasSubstr("CUDA_MPS_PIPE_DIRECTORY=/run/nvidia-mps/gpu0/pipe "
                "CUDA_MPS_SM_PARTITION=$W0_0_SMS\"\n"));
  // How many SMs an unknown GPU has is not guessed.
  Plan unknown = plan;
  for (Assignment& one : unknown.assignments) one.gpu_model = "some GPU";
  const auto ceiling = Export("shell", {unknown, TheCatalog()});
  EXPECT_THAT(FileOf(*ceiling, "gpus.sh"),
              AllOf(HasSubstr("\nmps -d\n"), HasSubstr("ACTIVE_THREAD_PERCENTAGE=48")));
  EXPECT_THAT(NotesOf(*ceiling), HasSubstr("how many SMs its GPU has is not at hand"));
}

TEST(Export, AGpuIsTakenForMpsOnlyWhereNobodyElseComputes) {
  const Machine machine = MachineOf("L40S", 1);
  const Plan plan = SharedPlan(Mechanism::kMps, machine, {GiB(10), GiB(10)}, "a/b:1");
  const std::string text = FileOf(*Export("shell", {plan, TheCatalog(), &machine}), "gpus.sh");
  const size_t look = text.find("\nnobody_else " + machine.gpus[0].uuid + "\n");
  const size_t set = text.find("-c EXCLUSIVE_PROCESS");
  ASSERT_NE(look, std::string::npos);
  EXPECT_LT(look, set);
  EXPECT_THAT(text, HasSubstr("-c DEFAULT\n  exit\nfi\n"));
  const auto units = Export("systemd", {plan, TheCatalog(), &machine});
  const std::string script = FileOf(*units, "mps.sh");
  EXPECT_LT(script.find("nobody_else \"$2\""), script.find("-c EXCLUSIVE_PROCESS"));
}

TEST(Export, MpsNamesANamespaceForEachReplica) {
  Machine machine = MachineOf("H100-SXM5-80GB", 1);
  machine.driver_version = std::string("580.95");
  Plan plan = PartitionedPlan(machine, "a/b:1");
  plan.spec.workloads[0].preemptible = true;
  plan.spec.workloads[1].name = plan.assignments[1].workload = "default";
  const auto exported = Export("mps", {plan, TheCatalog(), &machine});
  ASSERT_TRUE(exported);
  const std::string text = FileOf(*exported, "mps.toml");
  EXPECT_THAT(text, AllOf(HasSubstr("[servers.gpu0]\nallowed_devices = \"" + machine.gpus[0].uuid),
                          HasSubstr("[servers.gpu0.namespaces.w0]\npinned_memory_limit = \"20G\"\n"
                                    "client_priority = \"1\"\n"),
                          HasSubstr("[servers.gpu0.namespaces.default_2]\n"),
                          HasSubstr("name = \"w0\"\nchunks = 8\n"),
                          HasSubstr("CUDA_MPS_PIPE_DIRECTORY=/run/nvidia-mps/gpu0/w0\n")));
  EXPECT_THAT(NotesOf(*exported),
              HasSubstr("from driver 615 (CUDA 13.4) on; this machine has 580"));
  // As much as any process may use, rounded up, and nothing where nothing was said.
  for (Workload& workload : plan.spec.workloads) workload.isolation.axes.compute = Guarantee::kNone;
  plan.spec.workloads[0].compute = Share<Fraction>{{0.2}, {0.333}};
  machine.driver_version = std::string("615.71");
  const auto shared = Export("mps", {plan, TheCatalog(), &machine});
  const std::string limits = FileOf(*shared, "mps.toml");
  EXPECT_THAT(limits, HasSubstr("active_thread_percentage = \"34\"\nclient_priority = \"1\""));
  EXPECT_THAT(limits, Not(HasSubstr("sm_partitions")));
  EXPECT_THAT(NotesOf(*shared), Not(HasSubstr("driver 615")));
  // Names have 64 characters at most, and are told apart.
  const std::string longest(63, 'a');
  plan.spec.workloads[0].name = plan.assignments[0].workload = longest;
  plan.spec.workloads[0].replicas = 3;
  plan.assignments[1] = plan.assignments[0];
  plan.assignments[1].replica = 1;
  const std::string names = FileOf(*Export("mps", {plan, TheCatalog(), &machine}), "mps.toml");
  EXPECT_THAT(names, AllOf(HasSubstr("namespaces." + longest + "_]\n"),
                           HasSubstr("namespaces." + longest.substr(1) + "_2]\n")));
}

TEST(Export, VllmSharesNeverSumToMoreThanFits) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const Machine machine = MachineOf(round % 2 == 0 ? "H100-SXM5-80GB" : "L40S", 1);
    const uint64_t total = machine.gpus[0].memory_total.value;
    uint64_t left = (total - total / 60) >> 20;
    std::vector<Bytes> parts;
    while (left > 600 && parts.size() < 20) {
      const uint64_t part = 600 + random() % (left - 599);
      parts.push_back(MiB(part));
      left -= part;
    }
    const Plan plan = SharedPlan(Mechanism::kMps, machine, parts, "vllm/vllm-openai:latest");
    const auto shares =
        Utilizations(FileOf(*Export("vllm", {plan, TheCatalog(), &machine}), "vllm.sh"));
    ASSERT_EQ(shares.size(), parts.size());
    double sum = 0;
    for (size_t i = 0; i < shares.size(); ++i) {
      sum += shares[i];
      EXPECT_GT(shares[i], 0);
      // 0.01 is the least that can be said.
      if (shares[i] > 0.011) {
        EXPECT_LE(shares[i] * static_cast<double>(total), static_cast<double>(parts[i].value));
      }
    }
    EXPECT_LE(sum, 0.98);
  }
}

TEST(Export, KubernetesSaysWhatThePluginCannot) {
  const Machine machine = MachineOf("H100-SXM5-80GB", 1);
  const Plan plan = SharedPlan(Mechanism::kMps, machine, {GiB(40), GiB(20), GiB(10)}, "a/b:1");
  const auto exported = Export("kubernetes", {plan, TheCatalog(), &machine});
  EXPECT_THAT(NotesOf(*exported), HasSubstr("equal part"));
  EXPECT_THAT(FileOf(*exported, "device-plugin.yaml"),
              AllOf(HasSubstr("mps:"), HasSubstr("replicas: 3"), HasSubstr("mpsRoot")));
  EXPECT_THAT(FileOf(*exported, "pods.yaml"), HasSubstr("nvidia.com/gpu: \"1\""));
  const Plan part = SharedPlan(Mechanism::kFraction, machine, {GiB(3)}, "a/b:1");
  EXPECT_THAT(FileOf(*Export("kubernetes", {part, TheCatalog(), &machine}), "pods.yaml"),
              HasSubstr("nvidia.com/gpumem: \"3072\""));
}

TEST(Export, TritonCountsInstancesOnAGpu) {
  const Machine machine = MachineOf("L40S", 1);
  Plan plan = SharedPlan(Mechanism::kMps, machine, {GiB(10)}, "nvcr.io/nvidia/tritonserver:latest");
  plan.spec.workloads[0].replicas = 2;
  plan.assignments.push_back(plan.assignments[0]);
  plan.assignments[1].replica = 1;
  const std::string text =
      FileOf(*Export("triton", {plan, TheCatalog(), &machine}), "w0-0/w0/config.pbtxt");
  EXPECT_THAT(text, AllOf(HasSubstr("instance_group ["), HasSubstr("count: 2"),
                          HasSubstr("kind: KIND_GPU"), HasSubstr("gpus: [ 0 ]")));
}

TEST(Export, RoutesReachEveryReplica) {
  const Machine machine = MachineOf("H100-SXM5-80GB", 1);
  const Plan plan = PlanOf(kTwoSlices, machine);
  const std::string nginx = FileOf(*Export("nginx", {plan, TheCatalog(), &machine}), "nginx.conf");
  EXPECT_THAT(nginx, AllOf(HasSubstr("upstream phi {"), HasSubstr("server 127.0.0.1:8000"),
                           HasSubstr("server 127.0.0.1:8001"), HasSubstr("location /phi/ {")));
  const std::string traefik =
      FileOf(*Export("traefik", {plan, TheCatalog(), &machine}), "traefik.yaml");
  const auto tree = ParseYaml(traefik);
  ASSERT_TRUE(tree);
  const YamlNode* http = tree->Find("http");
  EXPECT_EQ(http->Find("routers")->Find("phi")->Find("rule")->scalar,
            "Path(`/phi`) || PathPrefix(`/phi/`)");
  EXPECT_EQ(
      http->Find("services")->Find("phi")->Find("loadBalancer")->Find("servers")->items.size(), 2u);
}

TEST(Export, LibvirtGetsTheVgpusThatWereMade) {
  Spec fleet = SpecOf(
      "version: 1\nfleet: [{gpu: A40}]\nworkloads:\n  - {name: vm, mechanism: vgpu, profile: "
      "A40-8C, "
      "replicas: 2, isolation: none}\n");
  Machine machine = MachineFromFleet(fleet, TheCatalog());
  machine.simulated_fleet = false;
  fleet.fleet.clear();
  const Plan plan = MakePlan(machine, fleet, Deployment{}, TheCatalog(), {});
  ASSERT_TRUE(plan.feasible());
  const auto early = Export("libvirt", {plan, TheCatalog(), &machine});
  ASSERT_FALSE(early);
  EXPECT_THAT(early.error().hint, HasSubstr("not made yet"));
  for (int replica = 0; replica < 2; ++replica) {
    VgpuThere there;
    there.id = there.function = fmt::format("0000:41:00.{}", 4 + replica);
    there.type = "A40-8C";
    there.ours = true;
    there.workload = "vm";
    there.replica = replica;
    machine.gpus[0].vgpu->there.push_back(there);
  }
  // Somebody else's at the place of one is not given away.
  machine.gpus[0].vgpu->there[1].ours = false;
  const auto exported = Export("libvirt", {plan, TheCatalog(), &machine});
  ASSERT_EQ(exported->files.size(), 1u);
  EXPECT_THAT(FileOf(*exported, "vm-0.xml"),
              AllOf(HasSubstr("type='pci' managed='no'"),
                    HasSubstr("bus='0x41' slot='0x00' function='0x4'")));
  EXPECT_THAT(NotesOf(*exported), HasSubstr("vm-1: its A40-8C is not made yet"));
  machine.gpus[0].vgpu->mediated = true;
  machine.gpus[0].vgpu->there[0].id = "00000000-0000-4000-8000-000000000001";
  EXPECT_THAT(FileOf(*Export("libvirt", {plan, TheCatalog(), &machine}), "vm-0.xml"),
              AllOf(HasSubstr("type='mdev' managed='no' model='vfio-pci'"),
                    HasSubstr("uuid='00000000-0000-4000-8000-000000000001'")));
}

TEST(Export, LibvirtGivesWholeGpusOnly) {
  const Machine machine = MachineOf("L40S", 2);
  const Plan plan = PlanOf(
      "version: 1\nworkloads:\n  - {name: vm, mechanism: exclusive, memory: 40GiB, isolation: "
      "hardware}\n",
      machine);
  const std::string text = FileOf(*Export("libvirt", {plan, TheCatalog(), &machine}), "vm-0.xml");
  EXPECT_THAT(text, HasSubstr("<address domain='0x0000' bus='0x10' slot='0x00' function='0x0'/>"));
  const Plan mig = PlanOf(kTwoSlices, MachineOf("H100-SXM5-80GB", 1));
  const auto refused = Export("libvirt", {mig, TheCatalog(), &machine});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().hint, HasSubstr("mechanism: vgpu"));
}

TEST(Export, SystemdStopsWhatLosesItsMpsServer) {
  const Machine machine = MachineOf("L40S", 1);
  const Plan plan = SharedPlan(Mechanism::kMps, machine, {GiB(10), GiB(10)}, "a/b:1");
  const auto exported = Export("systemd", {plan, TheCatalog(), &machine});
  EXPECT_THAT(
      FileOf(*exported, "tranche-w0-0.service"),
      AllOf(HasSubstr("BindsTo=tranche-mps-gpu0.service"), HasSubstr("Restart=on-failure")));
  EXPECT_THAT(
      FileOf(*exported, "tranche-mps-gpu0.service"),
      AllOf(HasSubstr("mps.sh take GPU-"), HasSubstr("nvidia-cuda-mps-control -d"),
            HasSubstr("ExecStopPost=/usr/bin/env bash /etc/tranche-export/mps.sh give_back GPU-")));
}

TEST(Export, RefusesWhatIsNoPlan) {
  const Machine machine = MachineOf("L40S", 1);
  Plan plan;
  EXPECT_EQ(Export("shell", {plan, TheCatalog()}).error().code, ErrorCode::kInvalid);
  plan.unplaced.push_back({"big", 0, "too big", "a larger GPU"});
  EXPECT_EQ(Export("shell", {plan, TheCatalog()}).error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(Export("shel", {plan, TheCatalog()}).error().hint, HasSubstr("did you mean 'shell'"));
}

}  // namespace
}  // namespace tranche
