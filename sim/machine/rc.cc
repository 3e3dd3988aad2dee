#include "sim/machine/rc.h"

namespace tranche::sim {

const char* RcName(Rc rc) {
  switch (rc) {
    case Rc::kOk:
      return "done";
    case Rc::kInvalid:
      return "an argument names nothing that exists";
    case Rc::kNotSupported:
      return "not supported in this state of the GPU";
    case Rc::kNoPermission:
      return "insufficient permissions";
    case Rc::kNotFound:
      return "not found";
    case Rc::kInUse:
      return "in use by another client";
    case Rc::kInsufficientResources:
      return "insufficient resources";
    case Rc::kResetRequired:
      return "a reset is required";
    case Rc::kGpuLost:
      return "the GPU is lost";
    case Rc::kExclusive:
      return "the compute mode lets no other process in";
    case Rc::kMpsNoServer:
      return "the MPS server has ended";
    case Rc::kMpsNotReady:
      return "the MPS server waits for the end of clients that had a fault";
    case Rc::kMpsFull:
      return "the MPS server has as many clients as it can";
    case Rc::kBroken:
      return "the machine's files are gone or damaged";
  }
  return "unknown";
}

}  // namespace tranche::sim
