#include "edge/broker/gate_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

#include "edge/broker/table_file.h"
#include "limiter/libc.h"

namespace tranche {

Result<std::unique_ptr<GateFile>> GateFile::Make(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) return CannotDo("make " + path);
  void* memory = MAP_FAILED;
  // Readable for the party, which cannot look into the folders of others.
  if (fchmod(fd, 0644) == 0 && ftruncate(fd, TRANCHE_GATE_BYTES) == 0)
    memory = mmap(nullptr, TRANCHE_GATE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) return CannotDo("make " + path);
  std::unique_ptr<GateFile> file(new GateFile(path, static_cast<TrancheGate*>(memory)));
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
  if (discard_) unlink(path_.c_str());
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
