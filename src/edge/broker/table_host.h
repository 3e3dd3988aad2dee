#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/descriptor.h"
#include "base/result.h"

namespace tranche {

// What a table is made as.
struct TablePlace {
  std::string path;
  uint64_t bytes = 0;
  uint32_t owner = 0;      // whose processes may open it
  bool read_only = false;  // for these

  bool operator==(const TablePlace&) const = default;
};

// Where the memory lies that processes of slices map. They find it by its path, whatever lies
// there: limiter/open_table.h.
class TableHost {
 public:
  virtual ~TableHost() = default;

  // New memory, all zeroes, and a descriptor to write to it. A path that ends with XXXXXX is
  // completed to one where nothing was; any other must be free.
  virtual Result<Descriptor> Make(TablePlace* place) = 0;
  // What was made so before, by this process or an earlier one; to write to it, too. kNotFound when
  // there is nothing, kInvalid when it was made otherwise.
  virtual Result<Descriptor> Open(const TablePlace& place) = 0;
  // Nobody can open it any more; who has it mapped keeps it.
  virtual void Remove(const std::string& path) = 0;
  // `died` is called, in a thread of the host's, when a process that opened a table has ended. Who
  // takes it back (with {}) is not called any more once this returns. Hosts that do not see
  // processes end never call.
  virtual void TellOfDeaths(std::function<void(const std::string& path)> died) = 0;
};

// Files: for the slices of a process that stays with them, without a daemon.
class FileTables : public TableHost {
 public:
  Result<Descriptor> Make(TablePlace* place) override;
  Result<Descriptor> Open(const TablePlace& place) override;
  void Remove(const std::string& path) override;
  void TellOfDeaths(std::function<void(const std::string&)>) override {}
};

// For hosts. From errno.
tl::unexpected<Error> CannotDo(const std::string& what);
tl::unexpected<Error> NotMadeSo(const TablePlace& place);

}  // namespace tranche
