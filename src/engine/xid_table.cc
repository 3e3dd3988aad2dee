#include "engine/xid_table.h"

namespace tranche {
namespace {

// "catalog": NVIDIA's Xid catalog (docs.nvidia.com/deploy/xid-errors), by its immediate action:
// RESTART_APP and IGNORE are no fault of the GPU. "plugin": the list that NVIDIA's Kubernetes
// device plugin does not hold against a GPU (13, 31, 43, 45, 68, 109). "memory": NVIDIA's GPU
// memory error management guide.
constexpr const char* kCatalog = "NVIDIA Xid catalog";
constexpr const char* kPlugin = "NVIDIA Xid catalog; NVIDIA k8s-device-plugin ignores it";
constexpr const char* kMemory = "NVIDIA GPU memory error management; Xid catalog";

constexpr XidMeaning kTable[] = {
    {8, XidBlame::kApplication, "GPU stopped processing", kCatalog},
    {11, XidBlame::kApplication, "invalid or corrupted push buffer stream", kCatalog},
    {13, XidBlame::kApplication, "graphics engine exception: usually an access out of bounds",
     kPlugin},
    {31, XidBlame::kApplication, "memory page fault: an illegal address was used", kPlugin},
    {32, XidBlame::kApplication, "invalid or corrupted push buffer stream", kCatalog},
    {38, XidBlame::kHardware, "driver firmware error", kCatalog},
    {39, XidBlame::kApplication, "copy engine exception", kCatalog},
    {40, XidBlame::kApplication, "copy engine exception", kCatalog},
    {41, XidBlame::kApplication, "copy engine exception", kCatalog},
    {43, XidBlame::kApplication, "the application hit a fault of its own and was stopped", kPlugin},
    {44, XidBlame::kHardware, "graphics engine fault during a context switch", kCatalog},
    {45, XidBlame::kApplication, "cleaned up after an application that was aborted", kPlugin},
    {48, XidBlame::kHardware, "uncorrectable (double bit) ECC error", kMemory},
    {61, XidBlame::kHardware, "internal microcontroller breakpoint or warning", kCatalog},
    {62, XidBlame::kHardware, "internal microcontroller halt", kCatalog},
    {63, XidBlame::kNotice, "row remapping or page retirement recorded", kMemory},
    {64, XidBlame::kHardware, "row remapping or page retirement could not be recorded", kMemory},
    {68, XidBlame::kApplication, "video decoder exception", kPlugin},
    {69, XidBlame::kApplication, "graphics engine class error", kCatalog},
    {74, XidBlame::kHardware, "NVLink error", kCatalog},
    {79, XidBlame::kHardware, "the GPU has fallen off the bus", kCatalog},
    {92, XidBlame::kHardware, "high rate of single bit ECC errors", kMemory},
    {94, XidBlame::kHardware, "contained ECC error: what ran on the slice is lost", kMemory},
    {95, XidBlame::kHardware, "uncontained ECC error", kMemory},
    {109, XidBlame::kApplication, "context switch timeout", kPlugin},
    {119, XidBlame::kHardware, "timeout of a call to the GPU's system processor (GSP)", kCatalog},
    {120, XidBlame::kHardware, "error of the GPU's system processor (GSP)", kCatalog},
    {121, XidBlame::kNotice, "corrected error on the chip-to-chip link", kCatalog},
    {123, XidBlame::kHardware, "error of the power management unit", kCatalog},
    {140, XidBlame::kHardware, "unrecovered ECC error", kMemory},
    {143, XidBlame::kHardware, "the GPU could not be initialized", kCatalog},
    {154, XidBlame::kNotice, "the recommended recovery action changed", kCatalog},
};

}  // namespace

XidMeaning MeaningOfXid(uint64_t xid) {
  for (const XidMeaning& row : kTable) {
    if (row.xid == xid) return row;
  }
  return {xid, XidBlame::kHardware, "an error that Tranche does not know", "not in the table"};
}

}  // namespace tranche
