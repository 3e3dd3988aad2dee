#pragma once

#include <cstdint>

namespace tranche {

// Whom an XID speaks against.
enum class XidBlame {
  kApplication,  // the program on the GPU; its death is noticed anyway, the GPU is well
  kNotice,       // recorded by the driver and dealt with; nobody is interrupted
  kHardware,  // the GPU, its memory, its links or its firmware: what ran on it is not to be trusted
};

struct XidMeaning {
  uint64_t xid = 0;
  XidBlame blame = XidBlame::kHardware;
  const char* meaning = "";
  const char* source = "";
};

// What this XID means. One that is not in the table is blamed on the hardware, and its meaning says
// that it is not known: to keep a workload out of its route for nothing does less harm than to send
// requests to a broken GPU.
XidMeaning MeaningOfXid(uint64_t xid);

}  // namespace tranche
