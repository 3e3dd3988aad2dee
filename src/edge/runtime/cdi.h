#pragma once

#include <string>

#include "base/result.h"
#include "model/cdi.h"

// The files of replicas that run in containers: one for each.
namespace tranche {

// The containerEdits that are for all devices of a CDI file, which is JSON or YAML: what the driver
// needs besides nodes of GPUs. "" when it has none.
Result<std::string> DriverEditsOf(const std::string& text, const std::string& file);

// The file as a whole, or not at all. Its folder is made; kPermission where that may not be.
Status WriteCdi(const std::string& folder, const CdiDevice& device);
// No such file is fine.
void RemoveCdi(const std::string& folder, const std::string& name);
std::string CdiFile(const std::string& folder, const std::string& name);

}  // namespace tranche
