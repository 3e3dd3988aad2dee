#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace tranche {

// The kernel's files about devices: /sys, and of /proc who has one open. Paths are as programs of
// this machine call them ("/sys/bus/pci/devices"). Any thread.
class Sysfs {
 public:
  virtual ~Sysfs() = default;

  virtual bool Exists(const std::string& path) const = 0;
  // Names in a folder, sorted; empty when it is not there.
  virtual std::vector<std::string> List(const std::string& folder) const = 0;
  // Whole, without blanks at its end. kNotFound when it is not there or says nothing yet (ENXIO).
  virtual Result<std::string> Read(const std::string& path) const = 0;
  // In one write, which is one order to the kernel: kBusy (EBUSY), kDoesNotFit (EIO, ENOSPC: the
  // driver refused what it was told), kPermission, kNotFound.
  virtual Status Write(const std::string& path, const std::string& text) = 0;
  // The last name of what a link leads to; "" when it is none.
  virtual std::string LinkName(const std::string& path) const = 0;
  // Who has that device open, as far as we may look.
  virtual std::vector<int> Holders(const std::string& device) const = 0;
};

// Those below `root`.
std::unique_ptr<Sysfs> OpenSysfs(std::string root = "/");

}  // namespace tranche
