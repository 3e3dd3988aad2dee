#pragma once

#include <string>

namespace tranche {

// Tells the service manager something ("READY=1"), by systemd's protocol: one datagram to the
// socket named in $NOTIFY_SOCKET. Does nothing where there is none.
void NotifyServiceManager(const std::string& notify_socket, const std::string& state);

}  // namespace tranche
