#include "stage/import/claims.h"

#include <fmt/format.h>

#include <algorithm>

#include "model/spec_rules.h"
#include "stage/import/targets.h"

namespace tranche::importing {
namespace {

constexpr const char* kMigClass = "mig.nvidia.com";
constexpr const char* kGpuClass = "gpu.nvidia.com";
constexpr const char* kVfioClass = "vfio.gpu.nvidia.com";

std::string TextOf(const YamlNode* node) {
  return node != nullptr && node->IsScalar() ? node->scalar : "";
}

bool IsDriverConfig(const std::string& kind) {
  return kind == "GpuConfig" || kind == "MigDeviceConfig" || kind == "VfioDeviceConfig";
}

// The text in quotes that `expression` compares `attribute` with: of `x.profile == '1g.5gb'` and
// "profile" that is 1g.5gb.
std::string ComparedWith(std::string_view expression, std::string_view attribute) {
  for (size_t at = expression.find(attribute); at != std::string_view::npos;
       at = expression.find(attribute, at + 1)) {
    if (at == 0 || expression[at - 1] != '.') continue;
    std::string_view rest = expression.substr(at + attribute.size());
    const size_t sign = rest.find_first_not_of(" \t\n");
    if (sign == std::string_view::npos || rest.substr(sign, 2) != "==") continue;
    rest = rest.substr(sign + 2);
    const size_t open = rest.find_first_not_of(" \t\n");
    if (open == std::string_view::npos || (rest[open] != '\'' && rest[open] != '"')) continue;
    const size_t close = rest.find(rest[open], open + 1);
    if (close == std::string_view::npos) continue;
    return std::string(rest.substr(open + 1, close - open - 1));
  }
  return "";
}

// Of `x.memory.compareTo(quantity('40Gi')) >= 0` that is 40 GiB.
std::optional<Bytes> LeastMemory(std::string_view expression) {
  const size_t at = expression.find(".memory.compareTo(quantity(");
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest =
      expression.substr(at + std::string_view(".memory.compareTo(quantity(").size());
  if (rest.empty() || (rest[0] != '\'' && rest[0] != '"')) return std::nullopt;
  const size_t close = rest.find(rest[0], 1);
  if (close == std::string_view::npos) return std::nullopt;
  const auto quantity = Quantity(rest.substr(1, close - 1));
  rest = rest.substr(close + 1);
  if (!quantity || *quantity <= 0 || rest.find(">") == std::string_view::npos) return std::nullopt;
  return Bytes{static_cast<uint64_t>(*quantity)};
}

}  // namespace

bool Claims::IsClaim(const std::string& kind) {
  return kind == "ResourceClaim" || kind == "ResourceClaimTemplate" || kind == "DeviceClass" ||
         IsDriverConfig(kind);
}

void Claims::Read(const YamlNode& object, Reading& reading) {
  const std::string kind = TextOf(object.Find("kind"));
  if (!IsClaim(kind)) return;
  const YamlNode* metadata = object.Find("metadata");
  const bool named = metadata != nullptr && metadata->IsMap();
  const std::string name = named ? TextOf(metadata->Find("name")) : "";
  if (IsDriverConfig(kind)) {
    Request request;
    request.at = &object;
    request.name = kind == "MigDeviceConfig" ? "mig" : "gpu";
    request.device_class = kind == "MigDeviceConfig" ? kMigClass : kGpuClass;
    request.sharing = ReadGpuConfig(object, kind, reading);
    claims_.push_back({"", "", {std::move(request)}, false});
    return;
  }
  if (name.empty()) reading.Add(object, kind + " has no name", "metadata: {name: ...}");
  const YamlNode* spec = reading.MapAt(object, "spec", "spec");
  if (spec == nullptr) {
    if (reading.ok()) reading.Add(object, kind + " has no spec");
    return;
  }
  if (kind == "DeviceClass") {
    Claim as_claim;
    Request request;
    request.at = &object;
    request.device_class = name;
    const YamlNode* selectors = reading.ListAt(*spec, "selectors", "spec.selectors");
    if (selectors != nullptr) {
      for (const YamlNode& one : selectors->items) {
        ReadSelector(one, "spec.selectors", &request, reading);
      }
    }
    as_claim.requests.push_back(request);
    const YamlNode* config = reading.ListAt(*spec, "config", "spec.config");
    if (config != nullptr) ReadConfig(*config, "spec.config", &as_claim, reading);
    classes_[name] = as_claim.requests.front();
    return;
  }
  Claim claim;
  claim.name = name;
  claim.team =
      TextOf(metadata != nullptr && metadata->IsMap() ? metadata->Find("namespace") : nullptr);
  std::string path = "spec.devices";
  if (kind == "ResourceClaimTemplate") {
    spec = reading.MapAt(*spec, "spec", "spec.spec");
    path = "spec.spec.devices";
    if (spec == nullptr) {
      if (reading.ok()) reading.Add(object, kind + " has no spec of a claim", "spec: {spec: ...}");
      return;
    }
  }
  const YamlNode* devices = reading.MapAt(*spec, "devices", path);
  if (devices == nullptr) {
    if (reading.ok()) reading.Add(*spec, path + " is missing", "devices: {requests: [...]}");
    return;
  }
  ReadDevices(*devices, path, &claim, reading);
  claims_.push_back(std::move(claim));
}

void Claims::ReadDevices(const YamlNode& devices, const std::string& path, Claim* claim,
                         Reading& reading) {
  const YamlNode* requests = reading.ListAt(devices, "requests", path + ".requests");
  if (requests == nullptr || requests->items.empty()) {
    reading.Add(devices, path + " has no requests",
                "requests: [{name: gpu, exactly: {deviceClassName: gpu.nvidia.com}}]");
    return;
  }
  for (size_t i = 0; i < requests->items.size(); ++i) {
    ReadRequest(requests->items[i], fmt::format("{}.requests[{}]", path, i), claim, reading);
  }
  if (const YamlNode* constraints = devices.Find("constraints")) {
    reading.Note(*constraints, path + ".constraints", "are not part of a spec");
  }
  const YamlNode* config = reading.ListAt(devices, "config", path + ".config");
  if (config != nullptr) ReadConfig(*config, path + ".config", claim, reading);
}

void Claims::ReadRequest(const YamlNode& node, const std::string& path, Claim* claim,
                         Reading& reading) {
  if (!node.IsMap()) {
    reading.Add(node, fmt::format("{} is {}, not a map", path, Describe(node)));
    return;
  }
  Request request;
  request.at = &node;
  request.name = TextOf(node.Find("name"));
  if (request.name.empty()) reading.Add(node, path + " has no name", "name: gpu");
  const YamlNode* exactly = node.Find("exactly");
  const YamlNode* first = reading.ListAt(node, "firstAvailable", path + ".firstAvailable");
  if (first != nullptr && !first->items.empty()) {
    reading.Note(*first, path + ".firstAvailable",
                 "the plan looks for the best by itself; the first is taken");
    exactly = &first->items.front();
  }
  // Before resource.k8s.io/v1 its keys stood in the request itself.
  ReadExactly(exactly != nullptr && exactly->IsMap() ? *exactly : node, path, &request, reading);
  claim->requests.push_back(std::move(request));
}

void Claims::ReadExactly(const YamlNode& node, const std::string& path, Request* request,
                         Reading& reading) {
  request->device_class = TextOf(node.Find("deviceClassName"));
  if (request->device_class.empty()) {
    reading.Add(node, path + " has no deviceClassName", "deviceClassName: gpu.nvidia.com");
  } else if (const auto known = classes_.find(request->device_class); known != classes_.end()) {
    request->profile = known->second.profile;
    request->gpu = known->second.gpu;
    request->memory = known->second.memory;
    request->sharing = known->second.sharing;
  }
  if (const YamlNode* count = node.Find("count")) {
    const auto number = reading.Integer(*count, path + ".count");
    if (number && (*number < 1 || *number > 1000)) {
      reading.Add(*count, fmt::format("{}.count is {}, not 1 to 1000", path, *number));
    } else if (number) {
      request->count = static_cast<int>(*number);
    }
  }
  if (const YamlNode* mode = node.Find("allocationMode")) {
    if (reading.Word(*mode, path + ".allocationMode", {"ExactCount", "All"}) == "All") {
      reading.Note(*mode, path + ".allocationMode",
                   "how many GPUs all are is not in the file; "
                   "taken as one");
    }
  }
  if (const YamlNode* admin = node.Find("adminAccess")) {
    reading.Note(*admin, path + ".adminAccess", "is not part of a spec");
  }
  const YamlNode* selectors = reading.ListAt(node, "selectors", path + ".selectors");
  if (selectors != nullptr) {
    for (const YamlNode& one : selectors->items) {
      ReadSelector(one, path + ".selectors", request, reading);
    }
  }
  const YamlNode* capacity = reading.MapAt(node, "capacity", path + ".capacity");
  const YamlNode* asked =
      capacity != nullptr ? reading.MapAt(*capacity, "requests", path + ".capacity") : nullptr;
  const YamlNode* memory = asked != nullptr ? asked->Find("memory") : nullptr;
  if (memory != nullptr) {
    const auto bytes = memory->IsScalar() ? Quantity(memory->scalar) : std::nullopt;
    if (!bytes || *bytes <= 0) {
      reading.Add(*memory, path + ".capacity.requests.memory is no size", "as in 10Gi");
    } else {
      request->memory = Bytes{static_cast<uint64_t>(*bytes)};
    }
  }
}

void Claims::ReadSelector(const YamlNode& node, const std::string& path, Request* request,
                          Reading& reading) {
  const YamlNode* cel = node.IsMap() ? node.Find("cel") : nullptr;
  const YamlNode* expression = cel != nullptr && cel->IsMap() ? cel->Find("expression") : nullptr;
  if (expression == nullptr || !expression->IsScalar()) {
    reading.Add(node, path + ": a selector has no cel.expression");
    return;
  }
  const std::string& text = expression->scalar;
  bool understood = false;
  if (const std::string profile = ComparedWith(text, "profile"); !profile.empty()) {
    const auto name = ParseProfileName(profile);
    if (!name) {
      reading.Add(*expression, fmt::format("{} is no MIG profile", Quoted(profile)),
                  "as in 1g.10gb");
      return;
    }
    request->profile = name->plain();
    understood = true;
  }
  if (const std::string product = ComparedWith(text, "productName"); !product.empty()) {
    const auto gpu = reading.catalog().FindGpu(product);
    if (gpu) request->gpu = (*gpu)->key;
    understood = gpu.has_value();
  }
  if (const auto memory = LeastMemory(text)) {
    request->memory = memory;
    understood = true;
  }
  for (const char* type : {"gpu", "mig"}) {
    if (ComparedWith(text, "type") != type) continue;
    understood = true;
    if (request->device_class.empty() || classes_.count(request->device_class) > 0) continue;
    if (type == std::string("mig")) request->device_class = kMigClass;
  }
  // The driver that publishes the device says nothing about it.
  understood = understood || text.find("device.driver ==") == 0;
  if (!understood) {
    reading.Note(
        *expression, path,
        fmt::format("{} is not understood, so nothing is asked for in its place", Quoted(text)));
  } else if (text.find("&&") != std::string::npos || text.find("||") != std::string::npos) {
    reading.Note(*expression, path,
                 "of this condition only the profile, the product and the memory are taken");
  }
}

void Claims::ReadConfig(const YamlNode& list, const std::string& path, Claim* claim,
                        Reading& reading) {
  for (size_t i = 0; i < list.items.size(); ++i) {
    const YamlNode& one = list.items[i];
    const std::string here = fmt::format("{}[{}]", path, i);
    const YamlNode* opaque = one.IsMap() ? one.Find("opaque") : nullptr;
    if (opaque == nullptr || !opaque->IsMap()) {
      reading.Add(one, here + " has no opaque configuration");
      continue;
    }
    const std::string driver = TextOf(opaque->Find("driver"));
    if (driver != kGpuClass) {
      reading.Note(*opaque, here, "is for the driver " + Quoted(driver) + ", not NVIDIA's");
      continue;
    }
    const YamlNode* parameters = reading.MapAt(*opaque, "parameters", here + ".opaque.parameters");
    if (parameters == nullptr) {
      if (reading.ok()) reading.Add(*opaque, here + ".opaque has no parameters");
      continue;
    }
    const SharingConfig sharing = ReadGpuConfig(*parameters, here + ".opaque.parameters", reading);
    std::vector<std::string> names;
    if (const YamlNode* requests = reading.ListAt(one, "requests", here + ".requests")) {
      for (const YamlNode& name : requests->items) {
        const bool known =
            std::any_of(claim->requests.begin(), claim->requests.end(), [&](const Request& other) {
              return other.name == name.scalar.substr(0, name.scalar.find('/'));
            });
        if (!known) {
          reading.Add(name, fmt::format("{}: there is no request {}", here, Describe(name)));
        }
        names.push_back(name.scalar.substr(0, name.scalar.find('/')));
      }
    }
    for (Request& request : claim->requests) {
      if (names.empty() || std::find(names.begin(), names.end(), request.name) != names.end()) {
        request.sharing = sharing;
      }
    }
  }
}

void Claims::Use(const std::string& name, const std::string& request, DraftWorkload workload,
                 const YamlNode& at, Reading& reading) {
  bool found = false;
  for (Claim& claim : claims_) {
    if (claim.name != name) continue;
    claim.used = found = true;
    for (Request& one : claim.requests) {
      if (!request.empty() && one.name != request) continue;
      ++one.users;
      DraftWorkload mine = workload;
      if (claim.requests.size() > 1 && request.empty()) {
        mine.name = LabelOf(mine.name + "-" + one.name);
      }
      Apply(one, std::move(mine), reading);
    }
  }
  if (!found) {
    reading.Add(at, fmt::format("the file holds no claim or template {}", Quoted(name)),
                "import them together: one file, with --- between them");
  }
}

void Claims::AddUnused(Reading& reading) {
  for (const Claim& claim : claims_) {
    if (claim.used) continue;
    for (const Request& request : claim.requests) {
      DraftWorkload workload;
      workload.name =
          LabelOf(claim.requests.size() > 1 || claim.name.empty() ? claim.name + "-" + request.name
                                                                  : claim.name);
      if (IsLabel(claim.team) && claim.team != "default") workload.team = claim.team;
      Apply(request, std::move(workload), reading);
    }
  }
}

// A part of a MIG slice, by MPS. Shares are of the slice; in a spec they are of the GPU.
void Claims::ShareSlice(const Request& request, const DraftWorkload& slice, DraftWorkload* workload,
                        Reading& reading) {
  workload->mechanism = Mechanism::kMps;
  workload->isolation = "process";
  workload->profile = slice.profile.empty() ? slice.comment : slice.profile;
  workload->compute.reset();
  if (request.sharing.compute && slice.compute)
    workload->compute = *request.sharing.compute * *slice.compute;
  workload->memory = request.sharing.memory;
  if (workload->memory) return;
  const double share = request.sharing.compute.value_or(0.1);
  workload->memory = Bytes{static_cast<uint64_t>(static_cast<double>(slice.memory->value) * share)};
  reading.Note(*request.at, request.name,
               fmt::format("says nothing of memory, and a spec has to: {:.0f}% of the slice stand "
                           "for it",
                           share * 100));
}

void Claims::Apply(const Request& request, DraftWorkload workload, Reading& reading) {
  if (!reading.ok()) return;
  if (workload.gpu.empty()) workload.gpu = request.gpu;
  const bool mig = request.device_class == kMigClass || !request.profile.empty();
  if (request.count > 1 && mig) workload.replicas *= request.count;
  if (mig) {
    std::string profile = request.profile;
    if (profile.empty()) {
      profile = "1g.5gb";
      reading.Note(*request.at, request.name,
                   "asks for any MIG device; taken as the smallest, 1g.5gb");
    }
    const DraftWorkload slice = MigWorkload(profile, workload.gpu, 1, *request.at, reading);
    workload.memory = request.memory ? std::max(*request.memory, *slice.memory) : slice.memory;
    workload.compute = slice.compute;
    workload.isolation = slice.isolation;
    workload.mechanism = slice.mechanism;
    workload.profile = slice.profile;
    workload.comment = slice.comment;
    if (request.sharing.mechanism == Mechanism::kMps)
      ShareSlice(request, slice, &workload, reading);
    reading.draft().Add(std::move(workload));
    return;
  }
  if (request.device_class == kVfioClass) {
    reading.Note(*request.at, request.name, "a GPU for a virtual machine; taken as a whole GPU");
  } else if (request.device_class != kGpuClass) {
    reading.Note(*request.at, request.name,
                 fmt::format("the device class {} is not in the file; taken as GPUs",
                             Quoted(request.device_class)));
  }
  const std::vector<TargetGpu> targets = TargetsOf(reading);
  const SmallestGpu smallest = SmallestOf(reading.catalog());
  Bytes whole = targets.empty() ? smallest.memory : targets.front().memory;
  for (const CatalogGpu& gpu : reading.catalog().gpus()) {
    if (gpu.key == workload.gpu && gpu.memory) whole = Usable(*gpu.memory);
  }
  if (!request.sharing.mechanism) {
    workload.isolation = "hardware";
    workload.mechanism = Mechanism::kExclusive;
    workload.gpus = request.count;
    workload.memory = request.memory.value_or(whole);
    reading.draft().Add(std::move(workload));
    return;
  }
  workload.mechanism = request.sharing.mechanism;
  workload.isolation = workload.mechanism == Mechanism::kMps ? "process" : "none";
  workload.compute = request.sharing.compute;
  workload.memory = request.sharing.memory ? request.sharing.memory : request.memory;
  workload.replicas *= request.count;
  if (!workload.memory) {
    const double share = request.sharing.compute.value_or(0.1);
    workload.memory = Bytes{static_cast<uint64_t>(static_cast<double>(whole.value) * share)};
    reading.Note(*request.at, request.name,
                 fmt::format("says nothing of memory, and a spec has to: {:.0f}% of {} stand for "
                             "it",
                             share * 100,
                             targets.empty() && workload.gpu.empty()
                                 ? "the smallest GPU known (" + smallest.model + ")"
                                 : "the GPU"));
  }
  reading.draft().Add(std::move(workload));
}

}  // namespace tranche::importing
