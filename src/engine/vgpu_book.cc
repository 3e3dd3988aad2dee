#include "engine/vgpu_book.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"

namespace tranche {
namespace {

std::string Listed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

std::string VgpuBook::RecordOf(const std::string& id) const { return folder_ + "/" + id + ".json"; }

Result<std::string> VgpuBook::FindGpu(const std::string& gpu) const {
  const std::vector<std::string> gpus = host_.Gpus();
  const std::string address = KernelPciAddress(gpu);
  if (std::find(gpus.begin(), gpus.end(), address) != gpus.end()) return address;
  if (!gpu.empty() && gpu.size() < 4 && gpu.find_first_not_of("0123456789") == std::string::npos) {
    const auto index = static_cast<size_t>(std::stoi(gpu));
    if (index < gpus.size()) return gpus[index];
  }
  return Fail(
      ErrorCode::kNotFound, fmt::format("there is no GPU {}", gpu),
      gpus.empty() ? "there is no NVIDIA GPU on this machine" : "there are " + Listed(gpus));
}

void VgpuBook::Recognise(KnownVgpu* vgpu) const {
  std::ostringstream text;
  text << std::ifstream(RecordOf(vgpu->device.id)).rdbuf();
  const auto json = ParseJson(text.str());
  if (!json) return;
  JsonReader reader(*json, "vgpu");
  const auto type_id = static_cast<uint32_t>(reader.Unsigned("type_id"));
  const std::string name = reader.String("type");
  const std::string owner = reader.String("owner");
  const auto since = ParseTime(reader.String("created_at"));
  if (!reader.status() || type_id != vgpu->device.type.id) return;
  vgpu->ours = true;
  vgpu->owner = owner;
  if (since) vgpu->since = *since;
  // The kernel tells the number alone where no more of it can be made.
  if (vgpu->device.type.name.empty()) {
    if (const auto type = ParseVgpuTypeName(type_id, name)) vgpu->device.type = *type;
  }
}

Result<KnownVgpus> VgpuBook::Read(const std::string& gpu) const {
  auto read = host_.Read(gpu);
  if (!read) return tl::unexpected(read.error());
  KnownVgpus known{*std::move(read), {}};
  for (const VgpuDevice& device : known.gpu.devices) {
    KnownVgpu vgpu{device, false, "", std::nullopt};
    Recognise(&vgpu);
    known.vgpus.push_back(std::move(vgpu));
  }
  return known;
}

Result<std::pair<KnownVgpu, VgpuInterface>> VgpuBook::Find(const std::string& id) const {
  std::vector<std::string> ids;
  for (const std::string& gpu : host_.Gpus()) {
    const auto known = Read(gpu);
    if (!known) continue;
    for (const KnownVgpu& vgpu : known->vgpus) {
      if (vgpu.device.id == id) return std::pair(vgpu, known->gpu.interface);
      ids.push_back(vgpu.device.id);
    }
  }
  return Fail(ErrorCode::kNotFound, fmt::format("there is no vGPU {}", id),
              ids.empty() ? "there is none at all" : "there are " + Listed(ids));
}

Result<KnownVgpu> VgpuBook::Create(const std::string& gpu, const Wish& wish,
                                   const std::string& owner) {
  std::string type = wish.type;
  if (type.empty()) {
    const auto known = Read(gpu);
    if (!known) return tl::unexpected(known.error());
    const VgpuType* best = nullptr;
    for (const VgpuFunction& function : known->gpu.functions) {
      for (const VgpuType& candidate : function.creatable) {
        if (candidate.series != wish.series || candidate.framebuffer < *wish.memory) continue;
        if (best == nullptr || candidate.framebuffer < best->framebuffer) best = &candidate;
      }
    }
    if (best == nullptr) {
      return Fail(ErrorCode::kDoesNotFit,
                  fmt::format("no type of series {} with {} can be made on {} now",
                              VgpuSeriesLetter(wish.series), FormatBytes(*wish.memory), gpu),
                  "`tranche vgpu list` shows what can");
    }
    type = best->name;
  }
  auto made = host_.Create(gpu, type);
  if (!made) return tl::unexpected(made.error());
  KnownVgpu vgpu{*std::move(made), true, owner, clock_.Now()};
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  const std::string path = RecordOf(vgpu.device.id), next = path + ".next";
  std::ofstream file(next, std::ios::trunc);
  file << PrintJson({{"type_id", vgpu.device.type.id},
                     {"type", vgpu.device.type.name},
                     {"owner", owner},
                     {"created_at", FormatTime(*vgpu.since)}});
  file.close();
  if (file) std::filesystem::rename(next, path, error);
  if (file && !error) return vgpu;
  // One that nobody knows to be ours could not be taken away again.
  const auto known = host_.Read(gpu);
  if (known) (void)host_.Remove(vgpu.device, known->interface);
  return Fail(ErrorCode::kFailed, "cannot write " + path, "the vGPU was taken away again");
}

Status VgpuBook::Destroy(const std::string& id, bool adopt) {
  const auto found = Find(id);
  if (!found) return tl::unexpected(found.error());
  const auto& [vgpu, interface] = *found;
  if (!vgpu.ours && !adopt) {
    return Fail(ErrorCode::kPermission,
                fmt::format("Tranche did not make the vGPU {}, so it is left alone", id),
                "add --adopt to destroy it all the same");
  }
  if (Status gone = host_.Remove(vgpu.device, interface); !gone) return gone;
  std::error_code error;
  std::filesystem::remove(RecordOf(id), error);
  return {};
}

}  // namespace tranche
