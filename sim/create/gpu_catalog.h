#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sim/machine/spec.h"

// The GPUs that a simulated machine can be furnished with, read from the catalog's YAML: the same
// data as the product plans with, but another reader.
namespace tranche::sim {

class GpuCatalog {
 public:
  // From the texts of gpus.yaml, mig.yaml and drivers.yaml.
  static Result<GpuCatalog> Parse(std::string_view gpus, std::string_view mig,
                                  std::string_view drivers);
  // From the texts built into the program.
  static Result<GpuCatalog> Embedded();

  // By key or alias; case, '-', '_' and spaces do not matter. What is fixed by the model is filled
  // in as that driver shows it; the rest (uuid, bus, serial) is the caller's.
  Result<GpuSpec> Find(std::string_view model, const DriverSpec& driver) const;
  std::vector<std::string> keys() const;

  // "580.95.05", "580.95" or "580". A branch that is not listed is like the next older one that is.
  Result<DriverSpec> FindDriver(std::string_view version) const;
  std::string default_driver() const { return default_driver_; }

  // Of the symbols that NVML libraries gained over time: those that this driver does not have yet.
  std::vector<std::string> MissingSymbols(uint32_t branch) const;

 private:
  struct Entry {
    GpuSpec spec;
    std::vector<std::string> names;  // normalised: the key and its aliases
    uint32_t since_branch = 0;       // first driver that knows it
    std::string since;
  };
  struct Driver {
    uint32_t branch = 0;
    std::string version;
    int cuda = 0;
  };
  // How one driver's table differs from the catalog's.
  struct ProfileRule {
    std::vector<std::string> gpus;
    std::string profile;
    uint32_t since = 0;            // hidden before
    uint32_t from = 0, until = 0;  // renamed in [from, until]
    std::string name;
  };
  struct Symbol {
    std::string name;
    uint32_t since = 0;
  };

  std::vector<Entry> entries_;
  std::vector<Driver> drivers_;  // rising
  std::vector<ProfileRule> rules_;
  std::vector<Symbol> symbols_;
  std::string default_driver_;
};

// Makes "H100 SXM", "h100_sxm" and "h100-sxm" the same word.
std::string NormalModel(std::string_view text);

}  // namespace tranche::sim
