// What is imported, planned and exported, through all the stages.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <map>
#include <random>
#include <set>
#include <string>

#include "base/json.h"
#include "base/yaml.h"
#include "stage/export/export.h"
#include "stage/import/import.h"
#include "stage/inventory/inventory.h"
#include "stage/plan/planner.h"
#include "stage/request/parser.h"

namespace tranche {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

const Catalog& TheCatalog() {
  static const auto kCatalog = Catalog::Load().value();
  return *kCatalog;
}

Spec SpecOf(const std::string& text) {
  auto spec = ParseSpec(text, "spec.yaml", "/srv", TheCatalog());
  if (spec) return *std::move(spec);
  ADD_FAILURE() << FormatDiagnostic(spec.error().front()) << "\n" << text;
  return {};
}

// GPUs as a driver shows them, with what their models can do.
Machine MachineOf(const std::string& gpu, int count) {
  Spec fleet;
  fleet.fleet.push_back({gpu, count, std::nullopt, std::nullopt});
  Machine machine = MachineFromFleet(fleet, TheCatalog());
  machine.simulated_fleet = false;
  for (Gpu& one : machine.gpus) {
    one.uuid = fmt::format("GPU-00000000-0000-0000-0000-{:012}", one.index);
    one.pci_bus_id = fmt::format("00000000:{:02X}:00.0", 16 + one.index);
    one.minor_number = one.index;
  }
  for (Capability& capability : machine.capabilities) {
    for (const Gpu& one : machine.gpus) {
      if (capability.gpu_uuid == fmt::format("fleet-{}-{}", one.model, one.index)) {
        capability.gpu_uuid = one.uuid;
      }
    }
  }
  machine.fingerprint = MachineFingerprint(machine);
  return machine;
}

Plan PlanOf(const std::string& text, const Machine& machine) {
  Plan plan = MakePlan(machine, SpecOf(text), Deployment{}, TheCatalog(), {});
  for (const Unplaced& one : plan.unplaced) ADD_FAILURE() << one.workload << ": " << one.reason;
  return plan;
}

// A plan in which these hold equal or given parts of one GPU by a mechanism, whether or not the
// planner offers it here.
Plan SharedPlan(Mechanism mechanism, const Machine& machine, const std::vector<Bytes>& parts,
                const std::string& image) {
  Plan plan;
  plan.id = "p1:0";
  for (size_t i = 0; i < parts.size(); ++i) {
    Workload workload;
    workload.name = fmt::format("w{}", i);
    workload.image = image;
    workload.args = {"--gpu-memory-utilization", "0.95"};
    workload.kind = WorkloadKind::kInference;
    workload.port = 9000 + static_cast<int>(i);
    workload.route = fmt::format("/w{}", i);
    plan.spec.workloads.push_back(workload);
    Assignment assignment;
    assignment.workload = workload.name;
    assignment.gpu_model = machine.gpus[0].model;
    assignment.slice.gpu_uuid = machine.gpus[0].uuid;
    assignment.slice.mechanism = mechanism;
    assignment.slice.memory = parts[i];
    assignment.slice.compute_fraction = 1.0 / static_cast<double>(parts.size());
    plan.assignments.push_back(assignment);
  }
  return plan;
}

std::string FileOf(const Exported& exported, const std::string& name) {
  for (const ExportFile& file : exported.files) {
    if (file.name == name) return file.text;
  }
  ADD_FAILURE() << "no file " << name;
  return "";
}

std::string NotesOf(const Exported& exported) {
  std::string all;
  for (const std::string& note : exported.notes) all += note + "\n";
  return all;
}

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
  for (const char* other : {"systemd", "compose", "kubernetes"}) {
    EXPECT_EQ(Export(other, {plan, TheCatalog(), &machine}).error().code, ErrorCode::kUnsupported);
  }
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
  EXPECT_THAT(FileOf(*exported, "tranche-mps-gpu0.service"),
              AllOf(HasSubstr("EXCLUSIVE_PROCESS"), HasSubstr("nvidia-cuda-mps-control -d")));
}

TEST(Export, RefusesWhatIsNoPlan) {
  const Machine machine = MachineOf("L40S", 1);
  Plan plan;
  EXPECT_EQ(Export("shell", {plan, TheCatalog()}).error().code, ErrorCode::kInvalid);
  plan.unplaced.push_back({"big", 0, "too big", "a larger GPU"});
  EXPECT_EQ(Export("shell", {plan, TheCatalog()}).error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(Export("shel", {plan, TheCatalog()}).error().hint, HasSubstr("did you mean 'shell'"));
}

// "1g.10gb" -> how many, of a mig-parted config.
std::map<std::string, int> SlicesOf(const std::string& text) {
  std::map<std::string, int> counts;
  const auto map = ParseYaml(text);
  EXPECT_TRUE(map) << text;
  const auto inner = ParseYaml(map->Find("data")->Find("config.yaml")->scalar);
  EXPECT_TRUE(inner) << text;
  for (const YamlNode& entry : inner->Find("mig-configs")->members[0].value.items) {
    for (const YamlMember& member : entry.Find("mig-devices")->members) {
      counts[member.key.scalar] += std::stoi(member.value.scalar);
    }
  }
  return counts;
}

// Imported, planned and exported again, a layout has the same slices; once more changes nothing.
TEST(RoundTrip, MigLayoutsComeBackEquivalent) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> kGpus = {
      {"A100-SXM4-40GB", {"1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"}},
      {"A100-SXM4-80GB", {"1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"}},
      {"H100-SXM5-80GB", {"1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"}},
      {"A30", {"1g.6gb", "2g.12gb", "4g.24gb"}}};
  std::mt19937 random(11);
  int compared = 0;
  for (int round = 0; round < 120; ++round) {
    const auto& [model, profiles] = kGpus[random() % kGpus.size()];
    const Machine machine = MachineOf(model, 1);
    std::map<std::string, int> wanted;
    for (size_t i = 0, n = 1 + random() % 4; i < n; ++i) {
      wanted[profiles[random() % profiles.size()]] += 1;
    }
    std::string config =
        "version: v1\nmig-configs:\n  c:\n    - devices: all\n      mig-enabled: "
        "true\n      mig-devices:\n";
    for (const auto& [profile, count] : wanted) {
      config += fmt::format("        \"{}\": {}\n", profile, count);
    }
    ImportOptions options;
    options.machine = &machine;
    const auto imported = Import(config, "c.yaml", options, TheCatalog());
    ASSERT_TRUE(imported) << config;
    const Plan plan = MakePlan(machine, SpecOf(imported->spec), Deployment{}, TheCatalog(), {});
    if (!plan.feasible()) continue;  // generated without a look at what fits
    const auto exported = Export("kubernetes", {plan, TheCatalog(), &machine});
    ASSERT_TRUE(exported);
    const std::string again = FileOf(*exported, "mig-parted.yaml");
    EXPECT_EQ(SlicesOf(again), wanted) << model << "\n" << imported->spec;
    const auto second = Import(again, "again.yaml", options, TheCatalog());
    ASSERT_TRUE(second) << again;
    const Plan same = MakePlan(machine, SpecOf(second->spec), Deployment{}, TheCatalog(), {});
    const auto last = Export("kubernetes", {same, TheCatalog(), &machine});
    ASSERT_TRUE(last);
    EXPECT_EQ(SlicesOf(FileOf(*last, "mig-parted.yaml")), wanted);
    ++compared;
  }
  EXPECT_GT(compared, 30);
}

// mig-parted ships a layout for each profile, with as many slices as fit, and one with sizes mixed.
TEST(RoundTrip, EveryFullLayoutOfEveryGpuIsPlannedAsItIs) {
  int layouts = 0;
  for (const CatalogGpu& gpu : TheCatalog().gpus()) {
    if (gpu.mig_profiles.empty()) continue;
    const Machine machine = MachineOf(gpu.key, 1);
    std::vector<std::map<std::string, int>> wanted;
    std::map<int, const MigProfile*> smallest;  // of each number of compute slices
    for (const MigProfile& profile : gpu.mig_profiles) {
      if (profile.variant != MigVariant::kPlain) continue;
      wanted.push_back({{profile.name, profile.max_instances}});
      const MigProfile*& least = smallest[profile.compute_slices];
      if (least == nullptr || profile.memory < least->memory) least = &profile;
    }
    std::map<std::string, int> balanced;
    int sum = 0;
    for (const auto& [slices, profile] : smallest) {
      if (slices > 3) continue;
      balanced[profile->name] = slices == 1 ? 2 : 1;
      sum += slices == 1 ? 2 : slices;
    }
    if (sum <= gpu.mig_compute_slices) wanted.push_back(balanced);
    for (const auto& layout : wanted) {
      std::string config =
          "version: v1\nmig-configs:\n  c:\n    - devices: all\n      "
          "mig-enabled: true\n      mig-devices:\n";
      for (const auto& [profile, count] : layout) {
        config += fmt::format("        \"{}\": {}\n", profile, count);
      }
      ImportOptions options;
      options.machine = &machine;
      const auto imported = Import(config, "c.yaml", options, TheCatalog());
      ASSERT_TRUE(imported) << config;
      const Plan plan = PlanOf(imported->spec, machine);
      std::map<std::string, int> planned;
      for (const Assignment& one : plan.assignments) ++planned[one.slice.profile];
      EXPECT_EQ(planned, layout) << gpu.key << "\n" << imported->spec;
      ++layouts;
    }
  }
  EXPECT_GT(layouts, 100);
}

TEST(RoundTrip, SharedGpusComeBackEquivalent) {
  for (const Mechanism mechanism : {Mechanism::kMps, Mechanism::kTimeSlicing}) {
    for (const int replicas : {2, 3, 4, 10, 48}) {
      const Machine machine = MachineOf("L40S", 2);
      const std::string key = mechanism == Mechanism::kMps ? "mps" : "timeSlicing";
      ImportOptions options;
      options.machine = &machine;
      const auto imported =
          Import(fmt::format("version: v1\nsharing:\n  {}:\n    resources:\n      - {{name: "
                             "nvidia.com/gpu, replicas: {}}}\n",
                             key, replicas),
                 "c.yaml", options, TheCatalog());
      ASSERT_TRUE(imported);
      const Spec spec = SpecOf(imported->spec);
      ASSERT_EQ(spec.workloads.size(), 1u);
      EXPECT_EQ(spec.workloads[0].mechanism, mechanism);
      EXPECT_EQ(spec.workloads[0].replicas, 2 * replicas);
      // As the plan would have it: as many on each GPU.
      Plan plan;
      plan.spec = spec;
      for (int i = 0; i < 2 * replicas; ++i) {
        Assignment assignment;
        assignment.workload = spec.workloads[0].name;
        assignment.replica = i;
        assignment.gpu_index = i % 2;
        assignment.slice.gpu_uuid = machine.gpus[static_cast<size_t>(i % 2)].uuid;
        assignment.slice.mechanism = mechanism;
        assignment.slice.memory = spec.workloads[0].memory->request;
        plan.assignments.push_back(assignment);
      }
      const auto exported = Export("kubernetes", {plan, TheCatalog(), &machine});
      ASSERT_TRUE(exported);
      const auto again =
          Import(FileOf(*exported, "device-plugin.yaml"), "c.yaml", options, TheCatalog());
      ASSERT_TRUE(again);
      // All but the line that names the file.
      EXPECT_EQ(again->spec.substr(again->spec.find('\n')),
                imported->spec.substr(imported->spec.find('\n')));
    }
  }
}

TEST(RoundTrip, PodsComeBackWithTheirParts) {
  std::mt19937 random(3);
  const Machine machine = MachineOf("L40S", 1);
  ImportOptions options;
  options.machine = &machine;
  for (int round = 0; round < 50; ++round) {
    std::vector<Bytes> parts;
    for (size_t i = 0, n = 1 + random() % 5; i < n; ++i)
      parts.push_back(MiB(500 + random() % 8000));
    Plan plan = SharedPlan(Mechanism::kFraction, machine, parts, "example/a:1");
    for (size_t i = 0; i < parts.size(); ++i) {
      plan.spec.workloads[i].args = {"--port", "${PORT}", "it's \"100%\" $HOME: #"};
      plan.spec.workloads[i].env = {{"A", "b: c"}};
    }
    const auto exported = Export("kubernetes", {plan, TheCatalog(), &machine});
    ASSERT_TRUE(exported);
    const auto imported =
        Import(FileOf(*exported, "pods.yaml"), "pods.yaml", options, TheCatalog());
    ASSERT_TRUE(imported) << imported.error().front().message;
    const Spec spec = SpecOf(imported->spec);
    ASSERT_EQ(spec.workloads.size(), parts.size());
    for (size_t i = 0; i < parts.size(); ++i) {
      const Workload& back = spec.workloads[i];
      EXPECT_EQ(back.mechanism, Mechanism::kFraction);
      EXPECT_EQ(back.memory->request, parts[i]);
      EXPECT_EQ(back.image, "example/a:1");
      EXPECT_THAT(back.args, testing::ElementsAre("--port", fmt::format("{}", 9000 + i),
                                                  "it's \"100%\" $HOME: #"));
      EXPECT_EQ(back.env.at("A"), "b: c");
      EXPECT_EQ(back.port, 9000 + static_cast<int>(i));
      if (parts.size() > 1) {
        EXPECT_NEAR(back.compute->request.value, 1.0 / static_cast<double>(parts.size()), 0.01);
      }
    }
  }
}

}  // namespace
}  // namespace tranche
