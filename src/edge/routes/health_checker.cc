#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <thread>

#include "edge/routes/health.h"
#include "edge/routes/http_question.h"

namespace tranche {
namespace {

using Instant = HttpQuestion::Instant;
using SteadyClock = std::chrono::steady_clock;

// One question's outcome: well, not well, or "ask for the next path".
enum class Judgement { kGood, kBad, kNext };

Judgement Judge(const HealthProbe& probe, const HttpAnswer& answer, bool speaks_http) {
  if (answer.status >= 200 && answer.status < 300) return Judgement::kGood;
  if (answer.status == 404 || answer.status == 405 || answer.status == 501) return Judgement::kNext;
  if (!probe.connect_is_enough) return Judgement::kBad;
  if (answer.status != 0) return answer.status < 500 ? Judgement::kGood : Judgement::kBad;
  // The kernel accepts connections for a server that hangs. One that has spoken HTTP before should
  // go on.
  return answer.connected && !speaks_http ? Judgement::kGood : Judgement::kBad;
}

// One target and where its questions are. `target` never changes; `report` is guarded by the
// checker's mutex; the rest belongs to the checker's thread.
struct Patient {
  HealthTarget target;
  HealthReport report;

  Instant next_round;
  size_t path = 0;  // of probe.paths, in this round
  std::unique_ptr<HttpQuestion> question;
  bool speaks_http = false;
};

class PollingHealthChecker final : public HealthChecker {
 public:
  explicit PollingHealthChecker(HealthOptions options)
      : options_(options),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        thread_([this] { Loop(); }) {}
  ~PollingHealthChecker() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    Wake();
    thread_.join();
    close(wake_);
  }

  void SetTargets(std::vector<HealthTarget> targets) override;
  std::vector<HealthReport> Reports() override;

 private:
  void Wake() const {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t wrote = write(wake_, &one, sizeof one);
  }
  void Loop();
  void Advance(Patient& patient);
  void Ask(Patient& patient, Instant now) const;
  void Conclude(Patient& patient, bool good, std::string detail);

  const HealthOptions options_;
  const int wake_;
  std::mutex mutex_;
  std::vector<std::shared_ptr<Patient>> patients_;  // guarded by mutex_
  bool stop_ = false;                               // guarded by mutex_
  std::thread thread_;                              // last: it uses all of the above
};

void PollingHealthChecker::SetTargets(std::vector<HealthTarget> targets) {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Patient>> next;
  for (HealthTarget& target : targets) {
    const auto same = std::find_if(patients_.begin(), patients_.end(), [&](const auto& patient) {
      return patient && patient->target == target;
    });
    if (same != patients_.end()) {
      next.push_back(std::move(*same));
      continue;
    }
    auto patient = std::make_shared<Patient>();
    patient->report.key = target.key;
    patient->report.detail = "not asked yet";
    patient->target = std::move(target);
    next.push_back(std::move(patient));
  }
  patients_ = std::move(next);
  Wake();
}

std::vector<HealthReport> PollingHealthChecker::Reports() {
  const std::lock_guard lock(mutex_);
  std::vector<HealthReport> reports;
  for (const auto& patient : patients_) reports.push_back(patient->report);
  return reports;
}

void PollingHealthChecker::Loop() {
  while (true) {
    std::vector<std::shared_ptr<Patient>> patients;
    {
      const std::lock_guard lock(mutex_);
      if (stop_) return;
      patients = patients_;
    }
    Instant wake_at = SteadyClock::now() + std::chrono::hours(1);
    std::vector<pollfd> wait = {{wake_, POLLIN, 0}};
    for (const auto& patient : patients) {
      Advance(*patient);
      if (patient->question) {
        wait.push_back({patient->question->fd(), patient->question->events(), 0});
        wake_at = std::min(wake_at, patient->question->deadline());
      } else {
        wake_at = std::min(wake_at, patient->next_round);
      }
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(wake_at - SteadyClock::now()).count();
    poll(wait.data(), wait.size(), static_cast<int>(std::max<int64_t>(left, 0)));
    uint64_t ignored;
    [[maybe_unused]] const ssize_t got = read(wake_, &ignored, sizeof ignored);
  }
}

void PollingHealthChecker::Ask(Patient& patient, Instant now) const {
  const HealthTarget& target = patient.target;
  const std::string path = target.probe.paths.empty() ? "/" : target.probe.paths[patient.path];
  patient.question =
      std::make_unique<HttpQuestion>(target.host, target.port, path, now + options_.timeout);
}

void PollingHealthChecker::Advance(Patient& patient) {
  const Instant now = SteadyClock::now();
  if (!patient.question) {
    if (now < patient.next_round) return;
    patient.path = 0;
    patient.next_round = now + options_.interval;
    Ask(patient, now);
  }
  patient.question->Continue();
  while (patient.question && patient.question->answer()) {
    const HttpAnswer answer = *patient.question->answer();
    const HealthProbe& probe = patient.target.probe;
    patient.question.reset();
    patient.speaks_http = patient.speaks_http || answer.status != 0;
    const Judgement judgement = Judge(probe, answer, patient.speaks_http);
    const bool more = patient.path + 1 < probe.paths.size();
    if (judgement == Judgement::kNext && more) {
      ++patient.path;
      Ask(patient, now);
      patient.question->Continue();
      continue;
    }
    const std::string asked = probe.paths.empty() ? "/" : probe.paths[patient.path];
    const std::string what = answer.status != 0 ? std::to_string(answer.status) : answer.error;
    const bool good =
        judgement == Judgement::kGood || (judgement == Judgement::kNext && probe.connect_is_enough);
    Conclude(patient, good, fmt::format("GET {}: {}", asked, what));
  }
}

void PollingHealthChecker::Conclude(Patient& patient, bool good, std::string detail) {
  const std::lock_guard lock(mutex_);
  patient.report.state = NextHealth(patient.report.state, good, options_.thresholds);
  patient.report.detail = std::move(detail);
}

}  // namespace

std::unique_ptr<HealthChecker> MakeHealthChecker(HealthOptions options) {
  return std::make_unique<PollingHealthChecker>(options);
}

}  // namespace tranche
