#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "catalog/advice_rules.h"
#include "catalog/catalog.h"
#include "model/spec.h"

namespace tranche {

// One workload and where it is to run.
struct AdviceAsk {
  WorkloadKind kind = WorkloadKind::kInference;
  std::string isolation = "process";  // hardware, process or none
  const CatalogGpu* gpu = nullptr;
  // What it needs of each of `gpus` GPUs (or of one slice), when what it is given there has that
  // size: an engine that is given more takes more. Empty: nobody said.
  std::function<Bytes(Bytes given, int gpus)> need;
  bool divisible = false;  // over several GPUs, as a model is
  int gpus = 1;            // tensor parallel
  bool trusted = false;    // all tenants trust each other
  std::optional<Duration> latency_slo;
  std::optional<double> sm_utilization;  // of a whole GPU under normal load
  bool steady = false;                   // traffic that does not pause
  bool speculative = false;
  bool virtual_machines = false;
  bool mig_locked = false;     // MIG cannot be changed here
  bool interruptible = false;  // may be stopped at any time: it is repeated or has checkpoints
  bool resized = false;        // slices must change their size often
  int context = 0;             // tokens of a sequence; 0 = not said
  int concurrency = 0;         // sequences at once; 0 = not said
};

struct AdviceStep {
  std::string name;  // of the question
  std::string question;
  std::string answer;
  std::string because;
  std::string source;
  bool trapped = false;  // the question is a trap, and it closed
};

struct AdviceRejection {
  Mechanism mechanism = Mechanism::kExclusive;
  std::string because;
  std::string question;  // whose answer ruled it out; "" when only another is preferred
};

struct Advice {
  std::optional<Mechanism> mechanism;  // absent: none satisfies
  std::string profile;                 // of kMig, when the need is known
  int gpus = 1;                        // that one replica takes, whole or in part
  std::optional<int> tenants_per_gpu;  // such workloads on one GPU
  std::optional<Bytes> memory;         // what one needs of each GPU
  std::vector<AdviceStep> path;
  std::vector<AdviceRejection> rejected;  // every other mechanism, in the order of the design
  std::string accept;                     // the trade-off
  bool spot = false;                      // worth a GPU that can be taken away
  std::string billing_because;
  std::vector<std::string> notes;
};

// Walks the rules. kInvalid when they ask what nobody here can answer.
Result<Advice> Advise(const AdviceAsk& ask, const AdviceRules& rules);

// Every reason against one mechanism, from all the questions and not only those on the way to the
// advice. Empty: nothing speaks against it.
Result<std::vector<AdviceStep>> ReasonsAgainst(const AdviceAsk& ask, const AdviceRules& rules,
                                               Mechanism mechanism);

// The questions that can be answered here, for tests that hold them against the rules.
std::vector<std::string> AnswerableQuestions();

}  // namespace tranche
