#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/process.h"
#include "edge/broker/table_host.h"
#include "edge/broker/table_messages.h"

namespace tranche {

// Tables in the memory of a TableBroker: they outlive the daemon, which finds them again. The
// broker is started with the first table, and again, with the same memory, when it has died. Any
// thread.
class BrokeredTables : public TableHost {
 public:
  // All paths are in `folder` or below. `program` names the broker's program when it is asked for
  // the first time.
  BrokeredTables(std::string folder, std::function<Result<std::string>()> program);
  // The broker goes on while there are tables.
  ~BrokeredTables() override;
  BrokeredTables(const BrokeredTables&) = delete;
  BrokeredTables& operator=(const BrokeredTables&) = delete;

  Result<Descriptor> Make(TablePlace* place) override;
  Result<Descriptor> Open(const TablePlace& place) override;
  void Remove(const std::string& path) override;
  void TellOfDeaths(std::function<void(const std::string& path)> died) override;

 private:
  struct Table {
    TablePlace place;
    Descriptor memory;  // so that it outlives the broker
  };

  // All with mutex_ held.
  Status Connect();
  Status Start(const std::string& path);
  // What another broker had.
  Status GiveAll();
  // The errno that the broker answered; an error when there is none.
  Result<int> Ask(const TableRequest& request, Descriptor* beside);
  Result<Descriptor> Keep(const TablePlace& place, Descriptor memory);
  void Disconnect();

  void Listen();

  const std::string folder_;
  const std::function<Result<std::string>()> program_;
  std::mutex mutex_;  // guards the rest but for died_
  Descriptor connection_;
  std::shared_ptr<Descriptor> watched_;  // while listener_ reads it, it is not closed
  ProcessId broker_;                     // of ours; pid 0: an earlier daemon's, or none
  std::map<std::string, Table> tables_;
  bool ending_ = false;
  std::condition_variable changed_;  // watched_ or ending_
  std::thread listener_;             // for deaths, and for the broker's own
  std::mutex died_mutex_;            // held while it is called
  std::function<void(const std::string&)> died_;
};

}  // namespace tranche
