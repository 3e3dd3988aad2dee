#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "limiter/policy/label.h"

// Part of the build of the limiter that dies, or stops until it is sent on, where it is told to.
namespace tranche::limiter {

void AtLabel(Label label) {
  const char* wanted = getenv("TRANCHE_TEST_DIE_AT");
  if (wanted != nullptr && atoi(wanted) == static_cast<int>(label)) kill(getpid(), SIGKILL);
  // Once: the n-th time that it comes there.
  static int times = 0;
  wanted = getenv("TRANCHE_TEST_STOP_AT");
  if (wanted == nullptr || atoi(wanted) != static_cast<int>(label)) return;
  const char* n = getenv("TRANCHE_TEST_STOP_TIME");
  if (++times == (n == nullptr ? 1 : atoi(n))) kill(getpid(), SIGSTOP);
}

}  // namespace tranche::limiter
