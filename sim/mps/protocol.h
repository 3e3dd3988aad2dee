#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/machine/machine.h"
#include "sim/mps/values.h"

namespace tranche::sim::mps {

struct Settings {
  std::string pipe_directory, log_directory;
  std::vector<Target> devices;  // that it serves, in the order of its ordinals
  int protocol = 2;
  bool static_partitions = false;  // of protocol 2
  bool any_user = false;
  std::string configuration;  // a file, of protocol 3; "" = none
};

// What the control program says: on stdout, or, when it fails, on stderr.
struct Answer {
  bool ok = true;
  std::string text = {};
};
inline Answer No(const std::string& sentence) { return {false, sentence + "\n"}; }

// What a control daemon does when it is told something.
class Protocol {
 public:
  virtual ~Protocol() = default;

  // Registers the daemon with the machine, as the one behind its pipe directory. Not ok: why not.
  virtual Answer Begin() = 0;
  virtual void End() = 0;

  // Lines from standard input.
  virtual Answer Lines(const std::string& text) = 0;
  // Arguments of the control program, from a user.
  virtual Answer Command(const Words& words, uint32_t uid) = 0;
  // -q.
  virtual Answer Quit() = 0;
  // A program of that user wants to be a client of what is behind the directory: "ready", or why
  // not.
  virtual std::string Admit(const std::string& directory, uint32_t uid) = 0;
  // A server's process has ended, by itself or by somebody's signal.
  virtual void ServerEnded(uint32_t pid) = 0;
  // It was told to quit, and need not wait for anybody any longer.
  virtual bool MayEnd() = 0;
  // Those with a socket.
  virtual std::vector<std::string> Directories() = 0;
};

}  // namespace tranche::sim::mps
