#pragma once

#include <cstdint>

namespace tranche::sim {

// How an operation of the simulated driver ended. The libraries turn each into their own code.
enum class Rc : uint32_t {
  kOk,
  kInvalid,  // an argument that names nothing
  kNotSupported,
  kNoPermission,
  kNotFound,
  kInUse,
  kInsufficientResources,  // no placement, no memory, or a full table
  kResetRequired,
  kGpuLost,
  kExclusive,    // the compute mode lets nobody else in
  kMpsNoServer,  // the MPS server that the program connected to has ended
  kMpsNotReady,  // the MPS server waits for the end of clients that had a fault
  kMpsFull,      // the MPS server has as many clients as it can
  kBroken,       // the machine's files are gone or damaged
};

const char* RcName(Rc rc);

}  // namespace tranche::sim
