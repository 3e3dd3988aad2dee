// What other tools keep comes back as it was, through import, plan and export.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>

#include "base/yaml.h"
#include "face/cli/interchange_testing.h"

namespace tranche {
namespace {

Imported ImportedFor(const Machine& machine, const std::string& text) {
  ImportOptions options;
  options.machine = &machine;
  auto imported = Import(text, "file", options, TheCatalog());
  if (imported) return *std::move(imported);
  ADD_FAILURE() << imported.error().front().message << "\n" << text;
  return {};
}

// Of a plan that places everything.
std::string ExportedFrom(const std::string& spec, const Machine& machine, const char* format,
                         const char* file) {
  const Plan plan = PlanOf(spec, machine);
  const auto exported = Export(format, {plan, TheCatalog(), &machine});
  if (exported) return FileOf(*exported, file);
  ADD_FAILURE() << exported.error().message << "\n" << spec;
  return "";
}

// All but the line that names the file.
std::string Workloads(const Imported& imported) {
  return imported.spec.substr(std::min(imported.spec.find('\n'), imported.spec.size()));
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
RC_GTEST_PROP(RoundTrip, MigLayoutsComeBackEquivalent, ()) {
  static const std::map<std::string, std::vector<std::string>> kGpus = {
      {"A100-SXM4-40GB",
       {"1g.5gb", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb", "1g.5gb+me"}},
      {"A100-SXM4-80GB", {"1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"}},
      {"H100-SXM5-80GB",
       {"1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb", "1g.10gb+me"}},
      {"A30", {"1g.6gb", "2g.12gb", "4g.24gb", "1g.6gb+me"}}};
  const auto& [model, profiles] = *rc::gen::elementOf(kGpus);
  const Machine machine = MachineOf(model, *rc::gen::inRange(1, 3));
  std::map<std::string, int> each;
  for (int i = 0, n = *rc::gen::inRange(1, 5); i < n; ++i) each[*rc::gen::elementOf(profiles)] += 1;
  std::string config =
      "version: v1\nmig-configs:\n  c:\n    - devices: all\n      mig-enabled: "
      "true\n      mig-devices:\n";
  for (const auto& [profile, count] : each) {
    config += fmt::format("        \"{}\": {}\n", profile, count);
  }
  const Imported imported = ImportedFor(machine, config);
  const Plan plan = MakePlan(machine, SpecOf(imported.spec), Deployment{}, TheCatalog(), {});
  RC_PRE(plan.feasible());  // generated without a look at what fits
  std::map<std::string, int> wanted;
  for (const auto& [profile, count] : each) {
    wanted[profile] = count * static_cast<int>(machine.gpus.size());
  }
  const std::string again = ExportedFrom(imported.spec, machine, "kubernetes", "mig-parted.yaml");
  RC_ASSERT(SlicesOf(again) == wanted);
  const Imported second = ImportedFor(machine, again);
  RC_ASSERT(SlicesOf(ExportedFrom(second.spec, machine, "kubernetes", "mig-parted.yaml")) ==
            wanted);
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

// A namespace of MPS: what its clients have.
struct Held {
  uint64_t mib = 0;
  int percent = 0;  // 0 = not said
  int chunks = 0;   // of SMs of its own; 0 = none
  auto operator<=>(const Held&) const = default;
};

[[maybe_unused]] void showValue(const Held& held, std::ostream& out) {
  out << held.mib << " MiB, " << held.percent << " %, " << held.chunks << " chunks";
}

struct MpsMachine {
  Machine machine;
  int chunk = 0;   // SMs
  int chunks = 0;  // of a GPU
};

MpsMachine WithPartitions(const std::string& gpu, int count) {
  MpsMachine out{MachineOf(gpu, count)};
  const Gpu& first = out.machine.gpus.front();
  out.chunk = *first.compute_capability >= std::string("9.0") ? 8 : 4;
  out.chunks = *first.sm_count / out.chunk;
  for (Capability& one : out.machine.capabilities) {
    if (one.mechanism == Mechanism::kMps) one.partition_sms = out.chunk;
  }
  out.machine.driver_version = std::string("615.10");
  out.machine.fingerprint = MachineFingerprint(out.machine);
  return out;
}

// By name, with the number of their replicas.
std::vector<std::pair<std::string, Held>> HeldIn(const std::string& spec_text,
                                                 const MpsMachine& on) {
  std::vector<std::pair<std::string, Held>> all;
  for (const Workload& workload : SpecOf(spec_text).workloads) {
    EXPECT_EQ(workload.mechanism, Mechanism::kMps);
    Held held;
    held.mib = workload.memory->limit.value >> 20;
    const double share = workload.compute ? workload.compute->limit.value : 0;
    if (workload.isolation.axes.compute >= Guarantee::kDriver) {
      const double chunks = share * *on.machine.gpus.front().sm_count / on.chunk;
      held.chunks = static_cast<int>(std::ceil(chunks - 1e-6));
    } else {
      held.percent = static_cast<int>(std::lround(share * 100));
    }
    for (int i = 0; i < workload.replicas; ++i) all.emplace_back(workload.name, held);
  }
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<Held> WithoutNames(const std::vector<std::pair<std::string, Held>>& all) {
  std::vector<Held> held;
  for (const auto& [name, one] : all) held.push_back(one);
  std::sort(held.begin(), held.end());
  return held;
}

// A server for each GPU, with as many namespaces as fit.
std::string MpsConfig(const MpsMachine& on, std::vector<Held>* wanted) {
  const bool partitioned = *rc::gen::arbitrary<bool>();
  const std::vector<std::string> names = {"fast", "slow_2", "a", "0", "_x", "nightly", "default_1"};
  std::string config = "schema_version = \"1.0\"\n";
  for (const Gpu& gpu : on.machine.gpus) {
    const std::string server =
        fmt::format("{}{}", *rc::gen::element<std::string>("s", "gpu"), gpu.index);
    config += fmt::format("[servers.{}]\nallowed_devices = \"{}\"\n", server, gpu.uuid);
    if (*rc::gen::arbitrary<bool>()) config += "pinned_memory_limit = \"1M\"\n";
    std::string partitions;
    uint64_t mib = (gpu.memory_total.value - gpu.memory_total.value / 60) >> 20;
    int percent = 100, chunks = on.chunks;
    const auto count = *rc::gen::inRange<size_t>(gpu.index == 0 ? 1 : 0, names.size() + 1);
    for (size_t i = 0; i < count && mib > 1000 && percent > 0 && chunks > 0; ++i) {
      Held held;
      held.mib = *rc::gen::inRange<uint64_t>(100, mib / 2);
      if (held.mib > 1024 && *rc::gen::arbitrary<bool>()) held.mib -= held.mib % 1024;
      if (partitioned) held.chunks = *rc::gen::inRange(1, (chunks + 1) / 2 + 1);
      if (!partitioned && *rc::gen::inRange(0, 4) > 0)
        held.percent = *rc::gen::inRange(1, (percent + 1) / 2 + 1);
      mib -= held.mib;
      percent -= held.percent;
      chunks -= held.chunks;
      config += fmt::format("[servers.{}.namespaces.{}]\npinned_memory_limit = \"{}\"\n", server,
                            names[i],
                            held.mib % 1024 == 0 ? fmt::format("{}G", held.mib / 1024)
                                                 : fmt::format("{}M", held.mib));
      if (held.percent > 0)
        config += fmt::format("active_thread_percentage = \"{}\"\n", held.percent);
      if (*rc::gen::arbitrary<bool>()) config += "client_priority = 1\n";
      if (held.chunks > 0) {
        partitions +=
            fmt::format("[[servers.{}.devices.sm_partitions]]\nname = \"{}\"\nchunks = {}\n",
                        server, names[i], held.chunks);
      }
      wanted->push_back(held);
    }
    if (count == 0)
      config += fmt::format(
          "[servers.{}.namespaces.default]\n"
          "pinned_memory_limit = \"1M\"\n",
          server);
    if (!partitions.empty())
      config +=
          fmt::format("[[servers.{}.devices]]\nuuid = \"{}\"\n", server, gpu.uuid) + partitions;
  }
  std::sort(wanted->begin(), wanted->end());
  return config;
}

RC_GTEST_PROP(RoundTrip, MpsServersComeBackWithTheirNamespaces, ()) {
  const MpsMachine on =
      WithPartitions(*rc::gen::element<std::string>("H100-SXM5-80GB", "L40S", "A100-SXM4-40GB"),
                     *rc::gen::inRange(1, 4));
  std::vector<Held> wanted;
  const std::string config = MpsConfig(on, &wanted);
  const Imported first = ImportedFor(on.machine, config);
  RC_ASSERT(WithoutNames(HeldIn(first.spec, on)) == wanted);
  const std::string again = ExportedFrom(first.spec, on.machine, "mps", "mps.toml");
  const Imported second = ImportedFor(on.machine, again);
  const auto held = HeldIn(second.spec, on);
  RC_ASSERT(WithoutNames(held) == wanted);
  // From then on the names stay as well.
  const Imported third =
      ImportedFor(on.machine, ExportedFrom(second.spec, on.machine, "mps", "mps.toml"));
  RC_ASSERT(HeldIn(third.spec, on) == held);
}

RC_GTEST_PROP(RoundTrip, SharedGpusComeBackEquivalent, ()) {
  const Machine machine =
      MachineOf(*rc::gen::element<std::string>("L40S", "H100-SXM5-80GB", "A30", "T4"),
                *rc::gen::inRange(1, 5));
  const bool mps = *rc::gen::arbitrary<bool>();
  const int replicas = *rc::gen::inRange(2, 49);
  std::string config = "version: v1\n";
  if (*rc::gen::arbitrary<bool>())
    config += "flags: {migStrategy: none, mpsRoot: /run/nvidia/mps}\n";
  config += fmt::format(
      "sharing:\n  {}:\n{}    resources:\n      - {{name: nvidia.com/gpu, replicas: {}}}\n",
      mps ? "mps" : "timeSlicing",
      *rc::gen::arbitrary<bool>() ? "    failRequestsGreaterThanOne: true\n" : "", replicas);
  const Imported first = ImportedFor(machine, config);
  const Spec spec = SpecOf(first.spec);
  RC_ASSERT(spec.workloads.size() == 1u);
  RC_ASSERT(spec.workloads[0].mechanism == (mps ? Mechanism::kMps : Mechanism::kTimeSlicing));
  RC_ASSERT(spec.workloads[0].replicas == replicas * static_cast<int>(machine.gpus.size()));
  const std::string again = ExportedFrom(first.spec, machine, "kubernetes", "device-plugin.yaml");
  RC_ASSERT(Workloads(ImportedFor(machine, again)) == Workloads(first));
}

// What a pod asks of GPUs, as Kubernetes counts it.
struct Asked {
  std::string resource;
  int count = 1, gpumem = 0, gpucores = 0;
};

std::string PodText(const std::string& name, const Asked& asked) {
  std::string limits = fmt::format("{}: {}", asked.resource, asked.count);
  if (asked.gpumem > 0) limits += fmt::format(", nvidia.com/gpumem: {}", asked.gpumem);
  if (asked.gpucores > 0) limits += fmt::format(", nvidia.com/gpucores: {}", asked.gpucores);
  return fmt::format(
      "apiVersion: v1\nkind: Pod\nmetadata: {{name: {}}}\nspec:\n  containers:\n"
      "    - {{name: main, image: \"example/{}:1\", resources: {{limits: {{{}}}}}}}\n",
      name, name, limits);
}

// The program, and what it gets; not how it is called.
std::map<std::string, std::string> AsksOf(const std::string& spec_text) {
  std::map<std::string, std::string> asks;
  for (const Workload& workload : SpecOf(spec_text).workloads) {
    asks[workload.image] =
        fmt::format("{} {} of {} x {} {} {:.2f}", workload.replicas,
                    workload.mechanism ? MechanismName(*workload.mechanism) : "", workload.gpus,
                    workload.profile, workload.memory ? workload.memory->request.value >> 20 : 0,
                    workload.compute ? workload.compute->request.value : 0);
  }
  return asks;
}

RC_GTEST_PROP(RoundTrip, PodsComeBackWithWhatTheyAsk, ()) {
  const int pods = *rc::gen::inRange(1, 6);
  // Two GPUs for each, so that all fit whatever they ask.
  const Machine machine = MachineOf("H100-SXM5-80GB", 2 * pods);
  std::string text;
  for (int i = 0; i < pods; ++i) {
    Asked asked{"nvidia.com/gpu"};
    const int kind = *rc::gen::inRange(0, 3);
    if (kind == 0) asked.count = *rc::gen::inRange(1, 3);
    if (kind == 1)
      asked.resource =
          "nvidia.com/mig-" + *rc::gen::element<std::string>("1g.10gb", "2g.20gb", "1g.10gb.me",
                                                             "3g.40gb", "1g.20gb", "7g.80gb");
    if (kind == 2) {
      asked.gpumem = *rc::gen::inRange(300, 40000);
      asked.gpucores = *rc::gen::inRange(0, 51);
    }
    text += (i == 0 ? "" : "---\n") + PodText(fmt::format("p{}", i), asked);
  }
  const Imported first = ImportedFor(machine, text);
  const std::string again = ExportedFrom(first.spec, machine, "kubernetes", "pods.yaml");
  RC_ASSERT(AsksOf(ImportedFor(machine, again).spec) == AsksOf(first.spec));
}

}  // namespace
}  // namespace tranche
