#include <fmt/format.h>

#include "base/json.h"
#include "face/cli/context.h"
#include "face/cli/replica_name.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

constexpr Duration kLookAgain = std::chrono::milliseconds(300);
constexpr int kMostAtOnce = 100000;

class LogsVerb final : public Verb {
 public:
  Info info() const override {
    return {"logs",
            "Shows what a workload printed",
            {"tranche logs phi", "tranche logs phi/1 -n 20", "tranche logs phi -f"},
            "Of a workload with several replicas, all; each line then begins with the replica."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("WORKLOAD[/N]", name_, "which workload, or which replica of it", true)
        .Option("-n,--lines", "N", lines_, "at most so many of the last lines (default: 100)")
        .Flag("-f,--follow", follow_, "go on until interrupted");
  }

  Result<int> Run(Context& context) override {
    const int lines = lines_.value_or(100);
    if (lines < 0 || lines > kMostAtOnce) {
      return Fail(ErrorCode::kInvalid, fmt::format("--lines must be from 0 to {}", kMostAtOnce));
    }
    const auto name = ParseReplicaName(name_);
    if (!name) return tl::unexpected<Error>(name.error());
    auto operations = context.DaemonOperations();
    if (!operations) return tl::unexpected<Error>(operations.error());
    const auto status = (*operations)->GetStatus();
    if (!status) return tl::unexpected<Error>(status.error());
    auto replicas = FindReplicas(*status, *name);
    // What failed to start, or was taken down, is not deployed any more but may have said why.
    if (!replicas &&
        (*operations)->Logs(name->workload, name->replica.value_or(0), 1, std::nullopt)) {
      replicas = std::vector<int>{name->replica.value_or(0)};
    }
    if (!replicas) return tl::unexpected<Error>(replicas.error());

    std::vector<Source> sources;
    for (const int replica : *replicas) {
      sources.push_back(
          {name->workload, replica,
           replicas->size() > 1 ? fmt::format("{}/{} | ", name->workload, replica) : "", "", 0});
    }
    if (context.structured()) return PrintDocument(context, **operations, sources, lines);
    if (const Status shown = Show(context, **operations, sources, lines, false); !shown) {
      return tl::unexpected<Error>(shown.error());
    }
    if (!follow_) return 0;
    const auto interrupts = context.world().catch_interrupts();
    while (!interrupts->Wait(kLookAgain)) {
      if (const Status shown = Show(context, **operations, sources, kMostAtOnce, true); !shown) {
        return tl::unexpected<Error>(shown.error());
      }
    }
    return ExitCodeOf(ErrorCode::kInterrupted);
  }

 private:
  struct Source {
    std::string workload;
    int replica;
    std::string prefix;
    std::string
        begun;  // a line whose end has not been read yet; only kept where lines get a prefix
    uint64_t next;
  };

  static Status Show(Context& context, Operations& operations, std::vector<Source>& sources,
                     int lines, bool go_on) {
    for (Source& source : sources) {
      const auto part =
          operations.Logs(source.workload, source.replica, lines,
                          go_on ? std::optional<uint64_t>(source.next) : std::nullopt);
      if (!part) return tl::unexpected<Error>(part.error());
      source.next = part->next;
      if (source.prefix.empty()) {
        // As the program wrote it, colours and all: this is its output, not ours.
        context.PrintRaw(part->text);
        continue;
      }
      source.begun += part->text;
      size_t start = 0;
      for (size_t end; (end = source.begun.find('\n', start)) != std::string::npos;
           start = end + 1) {
        context.PrintRaw(source.prefix + source.begun.substr(start, end - start) + "\n");
      }
      source.begun.erase(0, start);
    }
    return {};
  }

  static Result<int> PrintDocument(Context& context, Operations& operations,
                                   const std::vector<Source>& sources, int lines) {
    Json replicas = Json::array();
    for (const Source& source : sources) {
      const auto part = operations.Logs(source.workload, source.replica, lines, std::nullopt);
      if (!part) return tl::unexpected<Error>(part.error());
      replicas.push_back({{"workload", source.workload},
                          {"replica", source.replica},
                          {"text", part->text},
                          {"next", part->next}});
    }
    Answer answer;
    answer.json = {{"format_version", "1.0"}, {"logs", std::move(replicas)}};
    context.Print(answer);
    return 0;
  }

  std::string name_;
  std::optional<int> lines_;
  bool follow_ = false;
};

}  // namespace

std::unique_ptr<Verb> MakeLogsVerb() { return std::make_unique<LogsVerb>(); }

}  // namespace tranche
