#include "edge/broker/gate_file.h"

#include <sys/mman.h>

#include <climits>

#include "limiter/libc.h"

namespace tranche {

Result<std::unique_ptr<GateFile>> GateFile::Make(TableHost& host, const std::string& path,
                                                 uint32_t party) {
  TablePlace place{path, TRANCHE_GATE_BYTES, party, true};
  auto memory = host.Open(place);
  if (!memory) {
    host.Remove(path);
    memory = host.Make(&place);
  }
  if (!memory) return tl::unexpected<Error>(memory.error());
  void* mapped =
      mmap(nullptr, TRANCHE_GATE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory->get(), 0);
  if (mapped == MAP_FAILED) return CannotDo("map " + path);
  std::unique_ptr<GateFile> file(new GateFile(host, path, static_cast<TrancheGate*>(mapped)));
  file->gate_->version = TRANCHE_GATE_VERSION;
  file->SetOthersWait(false);
  file->Set(true);
  __atomic_store_n(&file->gate_->magic, TRANCHE_GATE_MAGIC, __ATOMIC_RELEASE);
  return file;
}

GateFile::~GateFile() {
  SetOthersWait(false);
  Set(true);
  munmap(gate_, TRANCHE_GATE_BYTES);
  if (discard_) host_.Remove(path_);
}

bool GateFile::IsOpen() const { return (__atomic_load_n(&gate_->open, __ATOMIC_RELAXED) & 1) != 0; }

void GateFile::Set(bool open) {
  if (IsOpen() == open) return;
  __atomic_fetch_add(&gate_->open, 1, __ATOMIC_SEQ_CST);
  if (open) limiter::libc::SharedFutexWake(&gate_->open, INT_MAX);
}

void GateFile::SetOthersWait(bool wait) {
  __atomic_store_n(&gate_->others_wait, wait ? 1 : 0, __ATOMIC_SEQ_CST);
}

void GateFile::Wanted(int64_t now) {
  __atomic_store_n(&gate_->wanted_at, static_cast<uint64_t>(now), __ATOMIC_RELAXED);
}

void GateFile::Looked(int64_t now) {
  __atomic_store_n(&gate_->looked_at, static_cast<uint64_t>(now), __ATOMIC_RELAXED);
}

}  // namespace tranche
