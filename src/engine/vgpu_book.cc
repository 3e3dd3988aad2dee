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

std::optional<VgpuBook::Record> VgpuBook::ReadRecord(const std::string& id) const {
  std::ostringstream text;
  text << std::ifstream(RecordOf(id)).rdbuf();
  const auto json = ParseJson(text.str());
  if (!json) return std::nullopt;
  JsonReader reader(*json, "vgpu");
  Record record;
  record.spot.id = id;
  const auto type_id = static_cast<uint32_t>(reader.Unsigned("type_id"));
  const auto type = ParseVgpuTypeName(type_id, reader.String("type"));
  record.spot.type = type.value_or(VgpuType{type_id, "", {}, {}, 0, 0});
  record.spot.function = reader.Has("function") ? reader.String("function") : id;
  const bool mediated = reader.Has("interface") && reader.String("interface") == "mdev";
  record.spot.interface = mediated ? VgpuInterface::kMdev : VgpuInterface::kVendorVfio;
  record.owner = reader.String("owner");
  record.made = !reader.Has("made") || reader.Bool("made");
  if (reader.Has("holds_place")) record.holds = reader.Bool("holds_place");
  if (reader.Has("boot_id")) record.boot = reader.String("boot_id");
  if (reader.Has("workload")) {
    record.workload = reader.String("workload");
    record.replica = static_cast<int>(reader.Int("replica"));
  }
  if (const auto since = ParseTime(reader.String("created_at"))) record.since = *since;
  return reader.status() ? std::optional(record) : std::nullopt;
}

Status VgpuBook::WriteRecord(const Record& record) const {
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  const std::string path = RecordOf(record.spot.id), next = path + ".next";
  std::ofstream file(next, std::ios::trunc);
  Json json = {
      {"type_id", record.spot.type.id},
      {"type", record.spot.type.name},
      {"function", record.spot.function},
      {"interface", record.spot.interface == VgpuInterface::kMdev ? "mdev" : "vendor-vfio"},
      {"owner", record.owner},
      {"made", record.made},
      {"created_at", FormatTime(record.since.value_or(clock_.Now()))}};
  if (record.holds) json["holds_place"] = true;
  if (!record.boot.empty()) json["boot_id"] = record.boot;
  if (!record.workload.empty()) {
    json["workload"] = record.workload;
    json["replica"] = record.replica;
  }
  file << PrintJson(json);
  file.close();
  if (file) std::filesystem::rename(next, path, error);
  if (file && !error) return {};
  return Fail(ErrorCode::kFailed, "cannot write " + path, "look whether the disk is full");
}

void VgpuBook::DropRecord(const std::string& id) const {
  std::error_code error;
  std::filesystem::remove(RecordOf(id), error);
}

std::vector<VgpuBook::Record> VgpuBook::RecordsFor(const std::string& workload, int replica,
                                                   bool holds) const {
  std::vector<Record> records;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (entry.path().extension() != ".json") continue;
    const auto record = ReadRecord(entry.path().stem());
    const bool of_it = record && record->workload == workload && record->replica == replica;
    if (of_it && record->holds == holds) records.push_back(*record);
  }
  return records;
}

bool VgpuBook::IsOfThisBoot(const Record& record) const {
  const std::string now = host_.BootId();
  return record.boot.empty() || now.empty() || record.boot == now;
}

std::optional<VgpuDevice> VgpuBook::There(const Record& record) const {
  return IsOfThisBoot(record) ? host_.At(record.spot) : std::nullopt;
}

void VgpuBook::Recognise(KnownVgpu* vgpu) const {
  const auto record = ReadRecord(vgpu->device.id);
  if (!record || !record->made || record->spot.type.id != vgpu->device.type.id) return;
  if (!IsOfThisBoot(*record)) return;
  vgpu->ours = true;
  vgpu->owner = record->owner;
  vgpu->since = record->since;
  vgpu->workload = record->workload;
  vgpu->replica = record->replica;
  // The kernel tells the number alone where no more of it can be made.
  if (vgpu->device.type.name.empty()) vgpu->device.type = record->spot.type;
}

Result<KnownVgpus> VgpuBook::Read(const std::string& gpu) const {
  auto read = host_.Read(gpu);
  if (!read) return tl::unexpected(read.error());
  KnownVgpus known{*std::move(read), {}};
  for (const VgpuDevice& device : known.gpu.devices) {
    KnownVgpu vgpu{device, false, "", std::nullopt, "", 0};
    Recognise(&vgpu);
    known.vgpus.push_back(std::move(vgpu));
  }
  return known;
}

Result<std::pair<KnownVgpu, VgpuInterface>> VgpuBook::Find(const std::string& id) const {
  std::vector<std::string> ids;
  std::optional<Error> unread;
  for (const std::string& gpu : host_.Gpus()) {
    const auto known = Read(gpu);
    if (!known) {
      if (known.error().code != ErrorCode::kUnsupported) unread = known.error();
      continue;
    }
    for (const KnownVgpu& vgpu : known->vgpus) {
      if (vgpu.device.id == id) return std::pair(vgpu, known->gpu.interface);
      ids.push_back(vgpu.device.id);
    }
  }
  // It may be on the one that does not say.
  if (unread) return FailedWhile(fmt::format("looking for the vGPU {}", id), *unread);
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
                              VgpuSeriesName(wish.series), FormatBytes(*wish.memory), gpu),
                  "`tranche vgpu list` shows what can");
    }
    type = best->name;
  }
  const auto spot = host_.FindSpot(gpu, type);
  if (!spot) return tl::unexpected(spot.error());
  return Make(*spot, owner, "", 0);
}

// From the record on, a crash leaves nothing unknown: of a mediated device its UUID is ours alone,
// and a function that had no vGPU a moment ago has ours or none.
Result<KnownVgpu> VgpuBook::Make(const VgpuSpot& spot, const std::string& owner,
                                 const std::string& workload, int replica) {
  Record record{spot, owner, workload, replica, false, false, host_.BootId(), clock_.Now()};
  if (const Status written = WriteRecord(record); !written) return tl::unexpected(written.error());
  const auto made = host_.CreateAt(spot);
  if (!made) {
    DropRecord(spot.id);
    return tl::unexpected(made.error());
  }
  record.made = true;
  if (const Status written = WriteRecord(record); !written) {
    // One that nobody knows to be ours could not be taken away again.
    (void)host_.Remove(*made, spot.interface);
    DropRecord(spot.id);
    return FailedWhile("the vGPU was taken away again", written.error());
  }
  return KnownVgpu{*made, true, owner, record.since, workload, replica};
}

std::optional<KnownVgpu> VgpuBook::FindFor(const std::string& workload, int replica) const {
  for (const Record& record : RecordsFor(workload, replica, false)) {
    if (const auto device = There(record))
      return KnownVgpu{*device, true, record.owner, record.since, workload, replica};
  }
  return std::nullopt;
}

Result<KnownVgpu> VgpuBook::CreateFor(const std::string& gpu, const std::string& type,
                                      const std::string& workload, int replica) {
  for (const Record& record : RecordsFor(workload, replica, false)) {
    const auto device = There(record);
    if (!device) {
      DropRecord(record.spot.id);
      continue;
    }
    if (ShortVgpuName(record.spot.type.name) != ShortVgpuName(type)) {
      return Fail(ErrorCode::kFailed, fmt::format("{}/{} has the vGPU {} ({}) already", workload,
                                                  replica, record.spot.id, record.spot.type.name));
    }
    Record seen = record;
    seen.made = true;
    if (const Status written = WriteRecord(seen); !written) return tl::unexpected(written.error());
    return KnownVgpu{*device, true, record.owner, record.since, workload, replica};
  }
  const auto spot = host_.FindSpot(gpu, type);
  if (!spot) return tl::unexpected(spot.error());
  return Make(*spot, fmt::format("workload {}/{}", workload, replica), workload, replica);
}

Status VgpuBook::DestroyAll(const std::vector<Record>& records) {
  for (const Record& record : records) {
    if (const auto device = There(record)) {
      if (const Status gone = host_.Remove(*device, record.spot.interface); !gone) return gone;
    }
    DropRecord(record.spot.id);
  }
  return {};
}

Status VgpuBook::DestroyFor(const std::string& workload, int replica) {
  if (const Status gone = ReleasePlaces(workload, replica); !gone) return gone;
  return DestroyAll(RecordsFor(workload, replica, false));
}

Status VgpuBook::HoldPlace(const std::string& workload, int replica) {
  for (Record& record : RecordsFor(workload, replica, false)) {
    record.holds = true;
    record.owner = fmt::format("holds a place while {}/{} is made", workload, replica);
    if (const Status written = WriteRecord(record); !written) return written;
  }
  return {};
}

Status VgpuBook::ReleasePlaces(const std::string& workload, int replica) {
  return DestroyAll(RecordsFor(workload, replica, true));
}

bool VgpuBook::HoldsPlaces(const std::string& workload, int replica) const {
  return !RecordsFor(workload, replica, true).empty();
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
  if (!vgpu.workload.empty()) {
    return Fail(
        ErrorCode::kBusy,
        fmt::format("the vGPU {} is that of workload {}/{}", id, vgpu.workload, vgpu.replica),
        "take the workload out of the spec and apply it, or `tranche down`");
  }
  if (Status gone = host_.Remove(vgpu.device, interface); !gone) return gone;
  DropRecord(id);
  return {};
}

}  // namespace tranche
