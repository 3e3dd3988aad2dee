#include "face/cli/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

namespace tranche {
namespace {

class SignalInterrupts final : public Interrupts {
 public:
  SignalInterrupts() {
    sigemptyset(&caught_);
    sigaddset(&caught_, SIGINT);
    sigaddset(&caught_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &caught_, &before_);
    descriptor_ = signalfd(-1, &caught_, SFD_CLOEXEC | SFD_NONBLOCK);
  }

  ~SignalInterrupts() override {
    if (descriptor_ >= 0) close(descriptor_);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

  bool Wait(Duration timeout) override {
    if (arrived_) return true;
    pollfd ready{descriptor_, POLLIN, 0};
    const auto milliseconds =
        std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
    if (poll(&ready, 1, static_cast<int>(milliseconds)) <= 0) return false;
    return Take();
  }

  bool WaitForInput() override {
    pollfd ready[] = {{descriptor_, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    while (!arrived_ && poll(ready, 2, -1) < 0 && errno == EINTR) {
    }
    return !arrived_ && !((ready[0].revents & POLLIN) != 0 && Take());
  }

 private:
  bool Take() {
    signalfd_siginfo info{};
    if (read(descriptor_, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) return false;
    arrived_ = true;
    // The next one is not a request any more.
    pthread_sigmask(SIG_UNBLOCK, &caught_, nullptr);
    return true;
  }

  sigset_t caught_{};
  sigset_t before_{};
  int descriptor_ = -1;
  bool arrived_ = false;
};

}  // namespace

std::unique_ptr<Interrupts> CatchInterrupts() { return std::make_unique<SignalInterrupts>(); }

}  // namespace tranche
