#include "scene.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <thread>

#include "limiter/policy/compute_table.h"
#include "limiter/policy/memory_ledger.h"

extern char** environ;

namespace tranche::limiter_compute {
namespace {

using std::chrono::steady_clock;

template <typename Done>
bool Eventually(int seconds, const Done& done) {
  const auto until = steady_clock::now() + std::chrono::seconds(seconds);
  while (!done()) {
    if (steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

// What the process has said since.
void Hear(int out, std::string* said) {
  char text[4096];
  for (;;) {
    const ssize_t n = read(out, text, sizeof(text));
    if (n <= 0) return;
    said->append(text, static_cast<size_t>(n));
  }
}

void Kill(pid_t pid) {
  if (pid <= 0) return;
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
}

}  // namespace

Shares Played::shares() const {
  std::vector<std::vector<double>> percent = served;
  // Of a scene that failed: nobody got anything.
  if (percent.empty()) percent.emplace_back(limiter::kMostTenants);
  for (std::vector<double>& sample : percent)
    for (double& ns : sample) ns /= every_ms * 1e4;
  return Shares(std::move(percent));
}

Scene::Scene() : machine_(scratch_.path() + "/machine") {
  const sim::MachineSpec spec = sim::SpecOf("H100-SXM5-80GB");
  if (!sim::Machine::Create(machine_, spec) || !sim::VirtualClock::Create(machine_.c_str(), 0))
    return;
  clock_.reset(sim::VirtualClock::Open(machine_.c_str()));
  for (const char* c = spec.gpus[0].uuid + 4; *c != 0; ++c)
    if (*c != '-') uuid_text_ += *c;
  for (size_t i = 0; i < 16; ++i)
    uuid_[i] = static_cast<uint8_t>(std::strtoul(uuid_text_.substr(2 * i, 2).c_str(), nullptr, 16));
}

Scene::~Scene() {
  for (Child& child : children_) {
    Kill(child.pid);
    if (child.out >= 0) close(child.out);
  }
  for (TrancheSlice* table : tables_) munmap(table, TRANCHE_SLICE_BYTES);
}

TrancheSlice* Scene::MakeTable(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  void* memory = MAP_FAILED;
  if (fd >= 0 && ftruncate(fd, TRANCHE_SLICE_BYTES) == 0)
    memory = mmap(nullptr, TRANCHE_SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd >= 0) close(fd);
  if (memory == MAP_FAILED) std::abort();
  auto* table = static_cast<TrancheSlice*>(memory);
  tables_.push_back(table);
  table->version = TRANCHE_SLICE_VERSION;
  table->bytes = TRANCHE_SLICE_BYTES;
  table->device_count = 1;
  std::memcpy(table->devices[0].uuid, uuid_, sizeof(uuid_));
  table->devices[0].memory_limit = uint64_t{4} << 30;
  // As sim/cuda/library.cc has it; were it something else, the books would not be true.
  table->devices[0].context_bytes = (uint64_t{128} + 3 * 132) << 20;
  limiter::MemoryLedger::Store(&table->magic, TRANCHE_SLICE_MAGIC);
  return table;
}

void Scene::MakeSlices(const std::vector<Who>& who) {
  char name[64];
  std::snprintf(name, sizeof(name), TRANCHE_TURNS_FILE, uuid_text_.c_str());
  turns_path_ = scratch_.path() + "/" + name;
  MakeTable(turns_path_);
  for (uint32_t i = 0; i < who.size(); ++i)
    MakeTable(scratch_.path() + "/slice" + std::to_string(i))->devices[0].turns_line = i + 1;
}

bool Scene::Start(const std::vector<std::string>& arguments, const Variables& variables,
                  uint32_t processes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  std::map<std::string, std::string> all;
  for (char** v = environ; *v != nullptr; ++v) {
    const std::string text = *v;
    all[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  for (const char* name : {"CUDA_VISIBLE_DEVICES", "TRANCHE_SLICE_FILE", "LD_LIBRARY_PATH"})
    all.erase(name);
  all["TRANCHE_SIM_DIR"] = machine_;
  all["LD_PRELOAD"] = TRANCHE_SIM_CLOCK;
  for (const auto& [name, value] : variables) all[name] = value;
  std::vector<std::string> words, pairs;
  words.push_back(TRANCHE_COMPUTE_PROCESS);
  words.insert(words.end(), arguments.begin(), arguments.end());
  for (const auto& [name, value] : all) pairs.push_back(name + "=" + value);
  std::vector<char*> argv, envp;
  for (std::string& word : words) argv.push_back(word.data());
  for (std::string& pair : pairs) envp.push_back(pair.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  Child child;
  // At the same addresses every time: the limiter finds kernels by them.
  const int before = personality(0xffffffff);
  personality(static_cast<unsigned long>(before) | ADDR_NO_RANDOMIZE);
  const int failed = posix_spawn(&child.pid, argv[0], &actions, nullptr, argv.data(), envp.data());
  personality(static_cast<unsigned long>(before));
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  child.out = ends[0];
  fcntl(child.out, F_SETFL, O_NONBLOCK);
  if (failed != 0) child.pid = -1;
  children_.push_back(child);
  // One after the other, so that each has the same place every time.
  return failed == 0 &&
         Eventually(patience_s_,
                    [&] {
                      return clock_->processes() >= processes ||
                             waitpid(child.pid, nullptr, WNOHANG) != 0;
                    }) &&
         clock_->processes() >= processes;
}

bool Scene::Finish(Child& child) {
  int status = -1;
  const bool ended = Eventually(patience_s_, [&] {
    for (Child& any : children_) Hear(any.out, &any.said);
    return waitpid(child.pid, &status, WNOHANG) == child.pid;
  });
  Hear(child.out, &child.said);
  if (ended) child.pid = -1;
  return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

Played Scene::Run(const std::vector<Who>& who, const Play& play) {
  Played played;
  played.every_ms = play.every_ms;
  patience_s_ = play.patience_s;
  if (clock_ == nullptr || !children_.empty()) {
    played.error = "there is no machine, or it was used before";
    return played;
  }
  MakeSlices(who);
  clock_->WaitForProcesses(static_cast<uint32_t>(who.size()) + 1);
  const int all_ms = play.warm_up_ms + play.every_ms * play.count;
  // The observer is the first of them.
  const auto failed = [&](size_t i) {
    Hear(children_[i].out, &children_[i].said);
    played.error = i == 0 ? "the observer" : "tenant " + std::to_string(i - 1);
    played.error += " failed: " + children_[i].said;
    return played;
  };
  std::vector<std::string> observer = {"observe",
                                       std::to_string(play.warm_up_ms),
                                       std::to_string(play.every_ms),
                                       std::to_string(play.count),
                                       turns_path_,
                                       scratch_.path() + "/slice"};
  for (const Who& w : who)
    observer.push_back(std::to_string(w.share.request) + ":" + std::to_string(w.share.limit) + ":" +
                       std::to_string(w.share.weight) + ":" + std::to_string(w.share.priority));
  if (!Start(observer, {}, 1)) return failed(0);
  for (uint32_t i = 0; i < who.size(); ++i) {
    Variables variables;
    if (play.free) {
      variables = {{"LD_LIBRARY_PATH", TRANCHE_SIM_FOLDER}};
    } else {
      variables = {{"LD_LIBRARY_PATH", play.shim.empty() ? TRANCHE_SHIM_FOLDER : play.shim},
                   {"TRANCHE_REAL_LIBCUDA", TRANCHE_SIM_FOLDER "/libcuda.so.1"},
                   // What NVML takes to say what code takes is the host's time, after which the
                   // clock would move on without who waits for it.
                   {"TRANCHE_REAL_LIBNVIDIA_ML", "/nonexistent"},
                   {"TRANCHE_SLICE_FILE", scratch_.path() + "/slice" + std::to_string(i)}};
    }
    for (const Play::Variable& v : play.variables)
      if (v.tenant == i) variables.emplace_back(v.name, v.value);
    if (!Start({"tenant", who[i].shape, std::to_string(play.seed * 1000 + i),
                std::to_string(all_ms + 1)},
               variables, i + 2))
      return failed(i + 1);
  }
  std::map<uint32_t, size_t> tenant_of;
  for (size_t i = 0; i < who.size(); ++i)
    tenant_of[static_cast<uint32_t>(children_[i + 1].pid)] = i;
  const auto doomed = [&](size_t i) {
    return std::any_of(play.variables.begin(), play.variables.end(),
                       [&](const auto& v) { return i == v.tenant + 1 && v.name == Play::kDieAt; });
  };
  for (size_t i = 0; i < children_.size(); ++i) {
    if (Finish(children_[i]) == doomed(i)) return failed(i);
  }

  if (getenv("DUMP")) {
    auto* table = limiter::ComputeOf(&tables_[0]->devices[0]);
    auto& d = table->device;
    printf(
        "holder+1 %d ending %u overlap %u present %lx active %lx turn %lu turn_from %ld granted "
        "%ld grace %ld delta %ld floor %ld idle %ld settled %ld now %ld\n",
        d.holder_plus_1, d.ending, d.overlap, d.present, d.active, d.turn, d.turn_from,
        d.granted_at, d.grace_until, d.delta, d.floor, d.idle, d.settled_at, clock_->Now());
    for (int i = 0; i < 3; ++i) {
      auto& t = d.tenants[i];
      printf(
          "%d: v %ld tok %ld g %ld fl %ld charged %ld shared %ld active_at %ld pending %ld units "
          "%u w %u l %u r %u waiting %u asleep %u thr %u wake %u\n",
          i, t.virtual_time, t.tokens, t.guarantee, t.in_flight, t.charged, t.shared, t.active_at,
          t.pending, t.units, t.weight, t.limit, t.request, t.waiting, t.asleep, t.throttled,
          t.wakeup);
    }
  }
  std::vector<double> before;
  std::istringstream lines(children_[0].said);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string word;
    std::vector<double> now(who.size());
    uint64_t books = 0, machine = 0;
    words >> word >> word >> books >> machine;
    played.ledgers.push_back(books);
    played.machine.push_back(machine);
    while (words >> word) {
      const auto found = tenant_of.find(static_cast<uint32_t>(std::stoul(word)));
      if (found != tenant_of.end())
        now[found->second] += std::stod(word.substr(word.find('=') + 1));
    }
    if (!before.empty()) {
      played.served.emplace_back();
      // The context of a dead one is gone, and what it was served with it.
      for (size_t i = 0; i < now.size(); ++i) now[i] = std::max(now[i], before[i]);
      for (size_t i = 0; i < now.size(); ++i) played.served.back().push_back(now[i] - before[i]);
    }
    before = now;
  }
  played.starts.resize(who.size());
  played.ends.resize(who.size());
  for (size_t i = 0; i < who.size(); ++i) {
    std::istringstream words(children_[i + 1].said);
    std::string word;
    int64_t start = 0, end = 0;
    while (words >> word >> start >> end) {
      played.starts[i].push_back(start);
      played.ends[i].push_back(end);
    }
  }
  return played;
}

}  // namespace tranche::limiter_compute
