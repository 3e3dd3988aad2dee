#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/spec.h"

namespace tranche {

// How to ask a server whether it is well.
struct HealthProbe {
  // Asked in turn with GET until one answers; 404, 405 and 501 mean "ask the next one". 2xx is
  // well, anything else is not.
  std::vector<std::string> paths;
  // Without a path, or when no path is known to the server: whether a connection being accepted is
  // enough.
  bool connect_is_enough = false;

  bool operator==(const HealthProbe&) const = default;
};

// Inference engines must answer /health or /v1/models (Triton: /v2/health/ready). A `command` may
// be anything: it is well when /health or /v1/models says so, or, where it has neither (or speaks
// no HTTP), when it accepts a connection; a 5xx is still a "no".
HealthProbe ProbeFor(ServingEngine engine);

struct HealthTarget {
  std::string key;  // the caller's name for it: "phi/0". With a new generation, give it a new key
  std::string host = "127.0.0.1";
  int port = 0;
  HealthProbe probe;

  bool operator==(const HealthTarget&) const = default;
};

// How many answers in a row turn a backend. The first answer of a fresh one may come minutes after
// its start (it loads a model), so one good answer is enough to begin with.
struct HealthThresholds {
  int up_first = 1;  // good ones in a row, for one that was never up
  int up = 2;        // likewise, for one that was taken out
  int down = 3;      // bad ones in a row
};

struct HealthState {
  enum class Verdict {
    kUnknown,
    kUp,
    kDown
  };  // kUnknown until it was up once, or `down` bad ones in a row
  Verdict verdict = Verdict::kUnknown;
  bool was_up = false;    // ever
  int good = 0, bad = 0;  // answers in a row; one of them is 0

  bool operator==(const HealthState&) const = default;
};

// The state after one more answer. Pure.
HealthState NextHealth(const HealthState& state, bool good, const HealthThresholds& thresholds);

struct HealthReport {
  std::string key;
  HealthState state;
  std::string detail;  // of the last answer, for people: "GET /health: 503", "connection refused"
};

struct HealthOptions {
  Duration interval = std::chrono::milliseconds(1000);  // between two questions to one backend
  Duration timeout = std::chrono::milliseconds(2000);   // for one question
  HealthThresholds thresholds;
};

// Asks every target again and again, all of them at once, on a thread of its own that ends with the
// object. All methods are safe from any thread; none waits for an answer.
class HealthChecker {
 public:
  virtual ~HealthChecker() = default;
  // From now on these and no others. What is known of a target that stays the same is kept.
  virtual void SetTargets(std::vector<HealthTarget> targets) = 0;
  // In the order of the targets; kUnknown for those that were not yet asked often enough.
  virtual std::vector<HealthReport> Reports() = 0;
};

std::unique_ptr<HealthChecker> MakeHealthChecker(HealthOptions options);

}  // namespace tranche
