#pragma once

#include <cstdint>
#include <string>

#include "base/descriptor.h"
#include "base/result.h"
#include "edge/broker/table_host.h"

// What the daemon and the broker of its tables say to each other, over the broker's own socket;
// each message is one packet. (What processes of slices hear: abi/table_socket.h.)
namespace tranche {

// In the folder of the tables.
inline constexpr char kBrokerSocket[] = "broker.sock";

enum class TableWish : uint32_t {
  kMake = 1,  // -> the memory, to write
  kGive,      // the same, with memory that was another broker's beside it
  kOpen,      // -> the memory, to write
  kRemove,
  kWatch,  // from now on this connection is told the path of a table whenever a client of it ends
};

struct TableRequest {
  TableWish wish = TableWish::kMake;
  TablePlace place;
};

// False, with errno, when it cannot be sent or no request came. `beside` goes or comes with it.
bool SendRequest(int connection, const TableRequest& request, int beside);
bool ReceiveRequest(int connection, TableRequest* request, Descriptor* beside);

// `error`: an errno, or 0 and what was asked for beside it.
bool SendAnswer(int connection, int error, int beside);
// -1 when none came; else the errno in the answer.
int ReceiveAnswer(int connection, Descriptor* beside);

// Of a socket that speaks these messages. A path may be longer than an address may be: it then goes
// by a descriptor of its folder.
class SocketAddress {
 public:
  explicit SocketAddress(const std::string& path);
  // False, with errno.
  bool Bind(int socket) const;
  bool Connect(int socket) const;

 private:
  std::string name_;
  Descriptor folder_;
};

}  // namespace tranche
