#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>

#include "base/suggest.h"
#include "sim/clock/virtual_clock.h"
#include "sim/tool/commands.h"
#include "sim/tool/library_folder.h"

namespace tranche::sim {
namespace {

Result<MachineDraft> Draft(const CreateOptions& options) {
  MachineDraft draft;
  if (!options.machine.empty()) {
    std::string text(BuiltInMachine(options.machine));
    if (text.empty()) {
      std::ifstream in(options.machine);
      if (!in) {
        std::string hint = DidYouMean(options.machine, BuiltInMachines());
        return Fail(
            ErrorCode::kInvalid,
            "'" + options.machine + "' is neither a machine that comes with tranche-sim nor a file",
            hint.empty() ? "`tranche-sim models` lists both machines and GPUs" : hint);
      }
      text.assign(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    }
    Result<MachineDraft> parsed = ParseMachineFile(text, options.machine);
    if (!parsed) return parsed;
    draft = *parsed;
  }
  for (const std::string& gpu : options.gpus) {
    Result<GpuDraft> parsed = ParseGpuArgument(gpu);
    if (!parsed) return tl::unexpected(parsed.error());
    draft.gpus.push_back(*parsed);
  }
  if (!options.driver.empty()) draft.driver = options.driver;
  if (options.root_only) draft.root_only = true;
  if (options.passthrough) draft.passthrough = true;
  for (GpuDraft& gpu : draft.gpus) {
    if (options.mirrored) gpu.mirrored = true;
    if (options.mig) gpu.mig = true;
  }
  if (draft.gpus.empty() && options.machine.empty()) {
    return Fail(ErrorCode::kInvalid, "a machine without GPUs",
                "give --gpu MODEL[:COUNT], or --machine NAME");
  }
  return draft;
}

// Files in place of /dev/nvidia-caps: whoever may read one has that right (chmod or chgrp to hand
// it out).
Status WriteCapabilities(const std::string& dir) {
  std::string folder = dir + "/capabilities";
  mkdir(folder.c_str(), 0755);
  folder += "/mig";
  mkdir(folder.c_str(), 0755);
  for (const char* name : {"config", "monitor"}) {
    std::string path = folder + "/" + name;
    std::ofstream(path) << "DeviceFileMinor: " << (std::strcmp(name, "config") == 0 ? 1 : 2)
                        << "\n";
    if (chmod(path.c_str(), std::strcmp(name, "config") == 0 ? 0400 : 0444) != 0) {
      return Fail(ErrorCode::kFailed, "cannot create " + path + ": " + std::strerror(errno));
    }
  }
  return {};
}

std::string Absolute(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  std::string text = resolved == nullptr ? path : resolved;
  std::free(resolved);
  return text;
}

}  // namespace

Result<GpuDraft> ParseGpuArgument(const std::string& text) {
  GpuDraft gpu;
  size_t colon = text.rfind(':');
  gpu.model = text.substr(0, colon);
  if (colon != std::string::npos) {
    std::string count = text.substr(colon + 1);
    char* end = nullptr;
    unsigned long n = std::strtoul(count.c_str(), &end, 10);
    if (count.empty() || *end != 0 || count[0] == '-' || n == 0 || n > kMaxGpus) {
      return Fail(ErrorCode::kInvalid, "'" + text + "': '" + count + "' is no number of GPUs",
                  "1 to " + std::to_string(kMaxGpus) + ", as in --gpu " + gpu.model + ":2");
    }
    gpu.count = static_cast<uint32_t>(n);
  }
  return gpu;
}

Status Create(const CreateOptions& options) {
  Result<GpuCatalog> catalog = GpuCatalog::Embedded();
  if (!catalog) return tl::unexpected(catalog.error());
  Result<MachineDraft> draft = Draft(options);
  if (!draft) return tl::unexpected(draft.error());
  Result<MachineSpec> spec = Furnish(*catalog, *draft, geteuid());
  if (!spec) return tl::unexpected(spec.error());

  Status created = Machine::Create(options.dir, *spec);
  if (!created) return created;
  std::string dir = Absolute(options.dir);
  std::ofstream(dir + "/machine.yaml") << PrintMachineFile(*draft);
  Status capabilities = WriteCapabilities(dir);
  if (!capabilities) return capabilities;
  if (options.virtual_clock && !VirtualClock::Create(dir.c_str(), 0))
    return Fail(ErrorCode::kFailed,
                "cannot create a clock in " + dir + ": " + std::strerror(errno));
  Result<std::unique_ptr<Machine>> machine = Machine::Open(dir);
  if (!machine) return tl::unexpected(machine.error());
  (*machine)->Update([&](MachineState& state) {
    ApplyDraft(*spec, *draft, &state);
    return Rc::kOk;
  });
  std::printf("%s: %u GPU%s, driver %s\n", dir.c_str(), spec->gpu_count,
              spec->gpu_count == 1 ? "" : "s", spec->driver.version);
  for (uint32_t i = 0; i < spec->gpu_count; ++i) {
    std::printf("  %u  %s  %s\n", i, spec->gpus[i].name, spec->gpus[i].uuid);
  }
  return RefreshLibraries(machine->get());
}

Status Clock(const ClockOptions& options) {
  const std::unique_ptr<VirtualClock> clock(VirtualClock::Open(options.dir.c_str()));
  if (clock == nullptr)
    return Fail(ErrorCode::kUnavailable,
                "the machine in " + options.dir + " runs on the host's time",
                "make one with `tranche-sim create DIR --clock virtual`");
  if (options.wait_for) clock->WaitForProcesses(*options.wait_for);
  std::printf("%lld ns, %u processes loaded code\n", static_cast<long long>(clock->Now()),
              clock->processes());
  return {};
}

Status Models() {
  Result<GpuCatalog> catalog = GpuCatalog::Embedded();
  if (!catalog) return tl::unexpected(catalog.error());
  std::printf("GPUs (--gpu):\n");
  for (const std::string& key : catalog->keys()) std::printf("  %s\n", key.c_str());
  std::printf("machines (--machine):\n");
  for (const std::string& name : BuiltInMachines()) std::printf("  %s\n", name.c_str());
  return {};
}

}  // namespace tranche::sim
