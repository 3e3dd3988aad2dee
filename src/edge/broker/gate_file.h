#pragma once

#include <memory>
#include <string>

#include "abi/gpu_gate.h"
#include "base/result.h"
#include "edge/broker/table_host.h"

namespace tranche {

// The gate of one party to one GPU (abi/gpu_gate.h), from the side of whoever opens it. From one
// thread at a time.
class GateFile {
 public:
  // At `path`, open, for processes of that user to read; one that was left there is taken over, as
  // processes may have it mapped. The host outlives it.
  static Result<std::unique_ptr<GateFile>> Make(TableHost& host, const std::string& path,
                                                uint32_t party);
  // Whoever still has it mapped finds it open. The file stays, unless Discard() was called.
  ~GateFile();
  GateFile(const GateFile&) = delete;
  GateFile& operator=(const GateFile&) = delete;

  // Wakes who waits, when that opens it.
  void Set(bool open);
  bool IsOpen() const;
  void SetOthersWait(bool wait);
  // Somebody else waited, at an instant as below.
  void Wanted(int64_t now);
  // The broker is there, at an instant of CLOCK_MONOTONIC in ns.
  void Looked(int64_t now);
  void Discard() { discard_ = true; }

 private:
  GateFile(TableHost& host, std::string path, TrancheGate* gate)
      : host_(host), path_(std::move(path)), gate_(gate) {}

  TableHost& host_;
  std::string path_;
  TrancheGate* gate_;
  bool discard_ = false;
};

}  // namespace tranche
