#include "sim/mps/registration.h"

#include <unistd.h>

#include "sim/machine/process_table.h"

namespace tranche::sim::mps {

Rc RegisterDaemon(Machine* machine, const Settings& settings, uint64_t* daemon) {
  Process self;
  if (!DescribeProcess(static_cast<uint32_t>(getpid()), &self)) return Rc::kBroken;
  MpsDaemon entry;
  entry.process = {self.pid, self.start_ticks};
  entry.protocol = static_cast<uint32_t>(settings.protocol);
  entry.any_user = settings.any_user ? 1 : 0;
  if (settings.pipe_directory.size() >= sizeof(entry.pipe_directory)) return Rc::kInvalid;
  settings.pipe_directory.copy(entry.pipe_directory, settings.pipe_directory.size());
  return machine->Update(
      [&](MachineState& state) { return StartMpsDaemon(&state, entry, daemon); });
}

void UnregisterDaemon(Machine* machine, uint64_t daemon) {
  machine->Update([&](MachineState& state) {
    RemoveMpsDaemon(&state, daemon);
    return Rc::kOk;
  });
}

Rc ChangeServer(Machine* machine, uint64_t server, const std::function<void(MpsServer&)>& change) {
  return machine->Update([&](MachineState& state) {
    auto* entry = const_cast<MpsServer*>(FindMpsServer(state, server));
    if (entry == nullptr) return Rc::kNotFound;
    change(*entry);
    return Rc::kOk;
  });
}

MpsServer ServerOf(Machine* machine, uint64_t server) {
  MpsServer copy;
  machine->Read([&](const MachineState& state) {
    if (const MpsServer* entry = FindMpsServer(state, server)) copy = *entry;
    return Rc::kOk;
  });
  return copy;
}

}  // namespace tranche::sim::mps
