#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "base/descriptor.h"
#include "edge/broker/table_messages.h"

namespace tranche {

// Keeps the memory of the tables of a daemon's slices, each a memfd, and hands it to the processes
// of their owners through a socket at the table's path. It is a program of its own, so that the
// tables, and programs that start, outlive the daemon, and it does nothing else: what the tables
// say it never looks at. From one thread.
class TableBroker {
 public:
  // `listener`: of the daemon's socket, bound at `path`.
  TableBroker(Descriptor listener, std::string path);

  // Serves until nobody needs it: no daemon is connected, and there is no table, or its socket is
  // gone, or none of the processes that opened a table has lived for an hour.
  void Run();

 private:
  struct Table {
    TablePlace place;
    Descriptor memory;
    Descriptor listener;
    std::map<int, Descriptor> clients;  // pidfds, by pid
  };
  struct Daemon {
    Descriptor connection;
    int pid = 0;
    bool watches = false;
  };

  // Registered with a number of its own, since descriptors are reused while their events wait.
  struct Source {
    enum class Kind { kListener, kDaemon, kTable, kClient } kind = Kind::kListener;
    int number = -1;   // the daemon's connection, the client's pid
    std::string path;  // of the table
  };

  void Add(int descriptor, Source source);
  void Handle(uint64_t number);
  void AcceptDaemon();
  void Serve(int connection);
  // An errno; the memory's descriptor in `beside`.
  int Answer(const TableRequest& request, Descriptor* beside);
  int Make(const TablePlace& place, Descriptor memory, Descriptor* beside);
  int Listen(const TablePlace& place, Descriptor* listener) const;
  void Remove(const std::string& path);
  void HandOut(Table& table);
  void Follow(Table& table, int connection, int pid);
  void Died(const std::string& path, int pid);
  bool IsNeeded();

  const Descriptor listener_;
  const std::string path_;
  const uint64_t inode_;
  Descriptor events_;
  uint64_t next_ = 0;
  std::map<uint64_t, Source> sources_;
  std::map<int, Daemon> daemons_;  // by connection
  std::map<std::string, Table> tables_;
  int64_t lonely_since_ = 0;  // no daemon and no client; seconds of CLOCK_BOOTTIME, 0: is not
};

}  // namespace tranche
