#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "sim/tool/commands.h"

using namespace tranche;
using namespace tranche::sim;

namespace {

int Finish(const Status& status) {
  if (status) return 0;
  std::fflush(stdout);
  std::fprintf(stderr, "tranche-sim: %s\n", status.error().message.c_str());
  if (!status.error().hint.empty()) std::fprintf(stderr, "  %s\n", status.error().hint.c_str());
  return ExitCodeOf(status.error().code);
}

// An option whose text is parsed by one of base/units.h; a mistake becomes CLI11's kind of error.
template <typename T, typename Parse>
auto Checked(T* out, Parse parse) {
  return [out, parse](const std::string& text) {
    auto value = parse(text);
    if (!value) throw CLI::ValidationError(value.error().message);
    *out = *value;
  };
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  // What follows `exec DIR` is another program's command line, and none of CLI11's business.
  if (!arguments.empty() && arguments[0] == "exec" &&
      !(arguments.size() > 1 && (arguments[1] == "--help" || arguments[1] == "-h"))) {
    return Exec({arguments.begin() + 1, arguments.end()});
  }

  CLI::App app{"A simulated machine with NVIDIA GPUs: makes it, runs programs on it, breaks it."};
  app.require_subcommand(1);
  Status status;

  CreateOptions create;
  auto* c = app.add_subcommand("create", "make a machine in DIR");
  c->add_option("DIR", create.dir)->required();
  c->add_option("--gpu", create.gpus, "MODEL[:COUNT], as often as wanted")->allow_extra_args(false);
  c->add_option("--machine", create.machine,
                "a machine that comes with tranche-sim, or a machine file");
  c->add_option("--driver", create.driver, "driver version, e.g. 580.95 or 535");
  c->add_flag("--mirrored", create.mirrored, "boards whose instance ids are mirrored");
  c->add_flag("--mig", create.mig, "MIG mode is on from the start");
  c->add_flag("--root-only", create.root_only, "only root has root's rights, not the owner of DIR");
  c->add_flag("--passthrough", create.passthrough, "a virtual machine: GPUs cannot be reset");
  std::string clock_kind = "real";
  c->add_option("--clock", clock_kind, "real, or virtual: a time of its own, as discrete events")
      ->check(CLI::IsMember({"real", "virtual"}));
  c->callback([&] {
    create.virtual_clock = clock_kind == "virtual";
    status = Create(create);
  });

  ClockOptions clock;
  uint32_t clock_processes = 0;
  auto* k = app.add_subcommand("clock", "the time of a machine with a clock of its own");
  k->add_option("DIR", clock.dir)->required();
  auto* wait_option =
      k->add_option("--wait-for", clock_processes,
                    "time stands still until so many processes have loaded code for a GPU");
  k->callback([&] {
    if (*wait_option) clock.wait_for = clock_processes;
    status = Clock(clock);
  });

  app.add_subcommand("exec",
                     "DIR [--root] -- PROGRAM...: run a program on the machine; with --root it has "
                     "the machine's /proc, /sys and /dev, too");

  FaultOptions fault;
  uint32_t fault_gpu = 0, fault_pid = 0;
  auto* f = app.add_subcommand("fault", "break something");
  f->add_option("DIR", fault.dir)->required();
  auto* fault_gpu_option = f->add_option("--gpu", fault_gpu, "which GPU, by index");
  f->add_option("--xid", fault.xid, "report this XID");
  auto* gi_option = f->add_option("--gi", fault.gi, "... of this GPU instance (id)");
  f->add_option("--ci", fault.ci, "... and this compute instance of it (id)")->needs(gi_option);
  auto* pid_option = f->add_option("--pid", fault_pid, "... in this process' contexts only");
  f->add_flag("--lost", fault.lost, "the GPU falls off the bus");
  f->add_option("--missing-symbol", fault.missing_symbols,
                "take a symbol out of libnvidia-ml.so.1 or libcuda.so.1");
  f->add_option("--fail", fault.fail,
                "CALL=CODE[@N]: let a function of libcuda.so.1 fail, always or the N-th time");
  f->add_option("--slow", fault.slow, "CALL=MS: make an NVML function slow");
  f->add_flag("--no-permission", fault.no_permission, "the GPU's device node may not be opened");
  f->add_flag("--clear", fault.clear, "take faults back: of the GPU named, or all");
  f->callback([&] {
    if (*fault_gpu_option) fault.gpu = fault_gpu;
    if (*pid_option) fault.pid = fault_pid;
    status = InjectFault(fault);
  });

  AttachOptions attach;
  Duration attach_time{};
  auto* a = app.add_subcommand("attach", "start a process that holds memory; prints its pid");
  a->add_option("DIR", attach.dir)->required();
  a->add_option("--gpu", attach.gpu, "I, or I:MIG for a MIG device by index or UUID")->required();
  a->add_option_function<std::string>("--memory", Checked(&attach.memory, ParseBytes), "e.g. 2GiB")
      ->required();
  a->add_option("--load", attach.load, "share of the SMs that it keeps busy, 0 to 1");
  auto* time_option = a->add_option_function<std::string>(
      "--for", Checked(&attach_time, ParseDuration), "e.g. 10s");
  a->callback([&] {
    if (*time_option) attach.time = attach_time;
    status = Attach(attach);
  });

  MpsOptions mps;
  uint32_t mps_uid = 0;
  auto* p = app.add_subcommand("mps", "start an MPS server, or stop it");
  p->add_option("DIR", mps.dir)->required();
  p->add_option("--pipe", mps.pipe, "what its clients have in CUDA_MPS_PIPE_DIRECTORY")->required();
  p->add_option("--gpu", mps.gpus, "which it serves, by index; all if none is named")
      ->allow_extra_args(false);
  p->add_option("--mig", mps.mig, "... or of that GPU one MIG device, by index or UUID");
  auto* mps_uid_option = p->add_option("--uid", mps_uid, "whose programs it serves");
  p->add_flag("--multi-user", mps.any_user, "it serves everybody's");
  p->add_option("--active-thread-percentage", mps.thread_percentage, "of the SMs, for each client");
  p->add_option_function<std::string>("--pinned-memory-limit",
                                      Checked(&mps.memory_limit, ParseBytes),
                                      "of each client on each GPU, e.g. 2GiB");
  p->add_option("--client-priority", mps.client_priority, "of its clients: 0 normal, 1 below")
      ->check(CLI::Range(0, 1));
  p->add_option("--sm-partition", mps.partitions,
                "static partitions of each GPU, in chunks; says what they are called");
  p->add_flag("--stop", mps.stop, "stop the server of that pipe directory");
  p->callback([&] {
    if (*mps_uid_option) mps.uid = mps_uid;
    status = Mps(mps);
  });

  std::string dir, format = "table";
  auto* s = app.add_subcommand("show", "what the machine has and who uses it");
  s->add_option("DIR", dir)->required();
  s->add_option("-o,--output", format)->check(CLI::IsMember({"table", "json"}));
  s->callback([&] { status = Show(dir, format); });

  uint32_t reset_gpu = 0;
  auto* r = app.add_subcommand("reset", "reset a GPU");
  r->add_option("DIR", dir)->required();
  r->add_option("--gpu", reset_gpu)->required();
  r->callback([&] { status = Reset(dir, reset_gpu); });

  auto* l = app.add_subcommand("reload", "unload and load the driver");
  l->add_option("DIR", dir)->required();
  l->callback([&] { status = Reload(dir); });

  auto* b = app.add_subcommand("reboot", "reboot the machine; kills what holds a GPU");
  b->add_option("DIR", dir)->required();
  b->callback([&] { status = RebootMachine(dir); });

  app.add_subcommand("models", "the GPUs and machines that can be made")->callback([&] {
    status = Models();
  });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    // CLI11 prints help and mistakes; only the exit code is ours.
    return app.exit(e) == 0 ? 0 : ExitCodeOf(ErrorCode::kInvalid);
  }
  return Finish(status);
}
