// table-broker SOCKET: keeps the tables of slices for the daemon that started it and those after it
// (table_broker.h). Standard input is the listening socket that SOCKET leads to.

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "edge/broker/table_broker.h"

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  signal(SIGPIPE, SIG_IGN);
  tranche::Descriptor listener(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  const int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (!listener || nothing < 0 || dup2(nothing, STDIN_FILENO) < 0) return 1;
  close(nothing);
  tranche::TableBroker(std::move(listener), argv[1]).Run();
}
