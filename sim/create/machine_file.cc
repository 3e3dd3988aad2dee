#include "sim/create/machine_file.h"

#include <sys/random.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "base/suggest.h"
#include "base/units.h"
#include "base/yaml.h"

namespace tranche::sim {
namespace {

// A version 4 UUID.
std::string RandomUuid(const char* prefix) {
  uint8_t b[16];
  if (getrandom(b, sizeof(b), 0) != sizeof(b)) std::memset(b, 0xa5, sizeof(b));
  b[6] = static_cast<uint8_t>((b[6] & 0x0f) | 0x40);
  b[8] = static_cast<uint8_t>((b[8] & 0x3f) | 0x80);
  std::string text = prefix;
  for (int i = 0; i < 16; ++i) {
    char hex[4];
    std::snprintf(hex, sizeof(hex), "%02x", b[i]);
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += hex;
  }
  return text;
}

std::string RandomSerial() {
  uint64_t n = 0;
  if (getrandom(&n, sizeof(n), 0) != sizeof(n)) n = 1;
  char text[32];
  std::snprintf(text, sizeof(text), "1%012llu",
                static_cast<unsigned long long>(n % 1000000000000ull));
  return text;
}

template <size_t N>
void Set(char (&out)[N], const std::string& text) {
  std::snprintf(out, N, "%s", text.c_str());
}

// Reads one map: every mistake is kept, and keys that nobody asked for are mistakes as well.
class Map {
 public:
  Map(const YamlNode& node, const std::string& file, std::vector<std::string>* mistakes)
      : node_(node), file_(file), mistakes_(mistakes) {
    if (!node.IsMap()) Complain(node, "wants 'key: value' lines here");
  }

  const YamlNode* Find(const char* key) {
    known_.push_back(key);
    return node_.Find(key);
  }
  void Text(const char* key, std::string* out) {
    const YamlNode* node = Find(key);
    if (node == nullptr) return;
    if (!node->IsScalar()) return Complain(*node, std::string("'") + key + "' wants a text");
    *out = node->scalar;
  }
  void Bool(const char* key, bool* out) {
    const YamlNode* node = Find(key);
    if (node == nullptr) return;
    if (node->scalar == "true") {
      *out = true;
    } else if (node->scalar == "false") {
      *out = false;
    } else {
      Complain(*node, std::string("'") + key + "' wants true or false");
    }
  }
  void Number(const char* key, uint32_t* out) {
    const YamlNode* node = Find(key);
    if (node != nullptr) Number(*node, key, out);
  }
  void Number(const YamlNode& node, const std::string& key, uint32_t* out) {
    char* end = nullptr;
    unsigned long value = std::strtoul(node.scalar.c_str(), &end, 0);
    bool digits = !node.scalar.empty() && node.scalar[0] >= '0' && node.scalar[0] <= '9';
    if (!node.IsScalar() || !digits || *end != 0 || value > 0xffffffffUL) {
      return Complain(node, "'" + key + "' wants a number, not '" + node.scalar + "'");
    }
    *out = static_cast<uint32_t>(value);
  }
  void Texts(const char* key, std::vector<std::string>* out) {
    const YamlNode* node = Find(key);
    if (node == nullptr) return;
    if (!node->IsSequence()) return Complain(*node, std::string("'") + key + "' wants a list");
    for (const YamlNode& item : node->items) out->push_back(item.scalar);
  }
  void Complain(const YamlNode& at, const std::string& what) {
    mistakes_->push_back(file_ + ":" + std::to_string(at.line) + ":" + std::to_string(at.column) +
                         ": " + what);
  }
  // To be called last.
  void RefuseOthers() {
    for (const auto& [key, value] : node_.members) {
      if (std::find(known_.begin(), known_.end(), key.scalar) != known_.end()) continue;
      std::string hint = DidYouMean(key.scalar, known_);
      Complain(key, "unknown key '" + key.scalar + "'" + (hint.empty() ? "" : "; " + hint));
    }
  }

 private:
  const YamlNode& node_;
  const std::string& file_;
  std::vector<std::string>* mistakes_;
  std::vector<std::string> known_;
};

GpuDraft ParseGpu(const YamlNode& node, const std::string& file,
                  std::vector<std::string>* mistakes) {
  GpuDraft gpu;
  Map map(node, file, mistakes);
  map.Text("model", &gpu.model);
  map.Number("count", &gpu.count);
  map.Bool("mirrored", &gpu.mirrored);
  map.Bool("mig", &gpu.mig);
  map.Bool("lost", &gpu.lost);
  map.Bool("no_permission", &gpu.no_permission);
  map.Text("name", &gpu.name);
  map.Number("pci_device_id", &gpu.pci_device_id);
  map.Text("compute_capability", &gpu.compute_capability);
  map.Number("sm", &gpu.sm);
  if (const YamlNode* memory = map.Find("memory")) {
    Result<Bytes> bytes = ParseBytes(memory->scalar);
    if (bytes) {
      gpu.memory_bytes = bytes->value;
    } else {
      map.Complain(*memory, bytes.error().message);
    }
  }
  if (gpu.count == 0 || gpu.count > kMaxGpus) {
    map.Complain(node, "'count' wants 1 to " + std::to_string(kMaxGpus));
  }
  if (gpu.model.empty() && (gpu.name.empty() || gpu.memory_bytes == 0)) {
    map.Complain(
        node, "wants a 'model', or a 'name' and a 'memory' for a GPU that is not in the catalog");
  }
  map.RefuseOthers();
  return gpu;
}

// A GPU that the catalog does not know: nothing is believed of it but what the file says.
GpuSpec UnknownGpu(const GpuDraft& draft) {
  GpuSpec gpu;
  Set(gpu.name, draft.name);
  gpu.pci_device_id = draft.pci_device_id;
  gpu.pci_subsystem_id = 0x000010deu;
  gpu.cc_major = 8;
  std::sscanf(draft.compute_capability.c_str(), "%u.%u", &gpu.cc_major, &gpu.cc_minor);
  gpu.arch = gpu.cc_major >= 10  ? Arch::kBlackwell
             : gpu.cc_major == 9 ? Arch::kHopper
             : gpu.cc_major == 7 ? Arch::kTuring
                                 : Arch::kAmpere;
  gpu.sm = draft.sm;
  gpu.memory_bytes = draft.memory_bytes;
  gpu.reserved_bytes = draft.memory_bytes / 200;
  gpu.tdp_watts = 300;
  return gpu;
}

}  // namespace

Result<MachineDraft> ParseMachineFile(std::string_view text, const std::string& file) {
  auto root = ParseYaml(text);
  if (!root) {
    const YamlError& e = root.error();
    return Fail(
        ErrorCode::kInvalid,
        file + ":" + std::to_string(e.line) + ":" + std::to_string(e.column) + ": " + e.message,
        e.hint);
  }
  std::vector<std::string> mistakes;
  MachineDraft draft;
  Map map(*root, file, &mistakes);
  uint32_t version = 0;
  map.Number("version", &version);
  if (version != 1) map.Complain(*root, "wants 'version: 1'");
  map.Text("driver", &draft.driver);
  map.Bool("driver_loaded", &draft.driver_loaded);
  map.Bool("driver_mismatched", &draft.driver_mismatched);
  map.Bool("root_only", &draft.root_only);
  map.Bool("passthrough", &draft.passthrough);
  if (const YamlNode* gpus = map.Find("gpus")) {
    if (!gpus->IsSequence()) map.Complain(*gpus, "'gpus' wants a list");
    for (const YamlNode& gpu : gpus->items) draft.gpus.push_back(ParseGpu(gpu, file, &mistakes));
  }
  map.Texts("missing_symbols", &draft.missing_symbols);
  if (const YamlNode* slow = map.Find("slow")) {
    if (!slow->IsMap()) map.Complain(*slow, "'slow' wants 'function: milliseconds' lines");
    for (const auto& [call, value] : slow->members) {
      uint32_t milliseconds = 0;
      map.Number(value, call.scalar, &milliseconds);
      draft.slow.emplace_back(call.scalar, milliseconds);
    }
  }
  map.RefuseOthers();
  if (mistakes.empty()) return draft;
  std::string message;
  for (const std::string& mistake : mistakes) message += (message.empty() ? "" : "\n") + mistake;
  return Fail(ErrorCode::kInvalid, message);
}

std::string PrintMachineFile(const MachineDraft& draft) {
  auto yes = [](bool value) { return value ? "true" : "false"; };
  std::ostringstream out;
  out << "# A simulated machine, as `tranche-sim create --machine FILE` reads it.\n"
      << "version: 1\n";
  if (!draft.driver.empty()) out << "driver: \"" << draft.driver << "\"\n";
  if (!draft.driver_loaded) out << "driver_loaded: false\n";
  if (draft.driver_mismatched) out << "driver_mismatched: true\n";
  if (draft.root_only) out << "root_only: true\n";
  if (draft.passthrough) out << "passthrough: true\n";
  out << "gpus:" << (draft.gpus.empty() ? " []" : "") << "\n";
  for (const GpuDraft& gpu : draft.gpus) {
    if (!gpu.model.empty()) {
      out << "  - model: " << gpu.model << "\n";
    } else {
      char id[16];
      std::snprintf(id, sizeof(id), "0x%08X", gpu.pci_device_id);
      out << "  - name: \"" << gpu.name << "\"\n    pci_device_id: " << id
          << "\n    memory: " << FormatBytesExact(Bytes{gpu.memory_bytes}) << "\n    sm: " << gpu.sm
          << "\n";
      if (!gpu.compute_capability.empty()) {
        out << "    compute_capability: \"" << gpu.compute_capability << "\"\n";
      }
    }
    if (gpu.count != 1) out << "    count: " << gpu.count << "\n";
    if (gpu.mirrored) out << "    mirrored: " << yes(gpu.mirrored) << "\n";
    if (gpu.mig) out << "    mig: true\n";
    if (gpu.lost) out << "    lost: true\n";
    if (gpu.no_permission) out << "    no_permission: true\n";
  }
  if (!draft.missing_symbols.empty()) {
    out << "missing_symbols:\n";
    for (const std::string& symbol : draft.missing_symbols) out << "  - " << symbol << "\n";
  }
  if (!draft.slow.empty()) {
    out << "slow:\n";
    for (const auto& [call, milliseconds] : draft.slow)
      out << "  " << call << ": " << milliseconds << "\n";
  }
  return out.str();
}

Result<MachineSpec> Furnish(const GpuCatalog& catalog, const MachineDraft& draft, uint32_t owner) {
  Result<DriverSpec> driver =
      catalog.FindDriver(draft.driver.empty() ? catalog.default_driver() : draft.driver);
  if (!driver) return tl::unexpected(driver.error());
  MachineSpec spec;
  spec.driver = *driver;
  spec.driver.loaded = draft.driver_loaded ? 1 : 0;
  spec.driver.mismatched = draft.driver_mismatched ? 1 : 0;
  spec.owner_is_privileged = draft.root_only ? 0 : 1;
  spec.owner_uid = owner;
  spec.passthrough = draft.passthrough ? 1 : 0;
  for (const GpuDraft& wanted : draft.gpus) {
    GpuSpec gpu;
    if (wanted.model.empty()) {
      gpu = UnknownGpu(wanted);
    } else {
      Result<GpuSpec> found = catalog.Find(wanted.model, spec.driver);
      if (!found) return tl::unexpected(found.error());
      gpu = *found;
    }
    gpu.mirrored = wanted.mirrored ? 1 : 0;
    for (uint32_t i = 0; i < wanted.count; ++i) {
      if (spec.gpu_count == kMaxGpus) {
        return Fail(ErrorCode::kInvalid,
                    "a simulated machine has at most " + std::to_string(kMaxGpus) + " GPUs");
      }
      uint32_t index = spec.gpu_count++;
      GpuSpec& out = spec.gpus[index];
      out = gpu;
      out.minor = index;
      // Two root complexes with up to eight slots each, as on a two-socket server.
      out.numa_node = index / 8 + (index % 8 >= 4 ? 1 : 0);
      out.pci_bus = 0x18 + index * 0x0a;
      Set(out.uuid, RandomUuid("GPU-"));
      Set(out.serial, RandomSerial());
      char bus[32];
      std::snprintf(bus, sizeof(bus), "00000000:%02X:00.0", out.pci_bus);
      Set(out.bus_id, bus);
    }
  }
  return spec;
}

void ApplyDraft(const MachineSpec& spec, const MachineDraft& draft, MachineState* state) {
  uint32_t index = 0;
  for (const GpuDraft& gpu : draft.gpus) {
    for (uint32_t i = 0; i < gpu.count && index < spec.gpu_count; ++i, ++index) {
      state->gpus[index].lost = gpu.lost ? 1 : 0;
      state->gpus[index].no_permission = gpu.no_permission ? 1 : 0;
      if (gpu.mig && spec.gpus[index].mig_capable) {
        state->gpus[index].mig_mode = state->gpus[index].mig_pending = 1;
      }
    }
  }
  for (size_t i = 0; i < draft.missing_symbols.size() && i < kMaxMissingSymbols; ++i) {
    Set(state->missing_symbols[i], draft.missing_symbols[i]);
  }
  for (size_t i = 0; i < draft.slow.size() && i < kMaxSlow; ++i) {
    Set(state->slow[i].name, draft.slow[i].first);
    state->slow[i].milliseconds = draft.slow[i].second;
  }
}

}  // namespace tranche::sim
