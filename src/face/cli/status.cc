#include "base/json.h"
#include "face/cli/context.h"
#include "face/cli/verb.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

constexpr Duration kLookAgain = std::chrono::seconds(1);

class StatusVerb final : public Verb {
 public:
  Info info() const override {
    return {"status",
            "Shows what runs where, how healthy, behind which route",
            {"tranche status", "tranche status -w", "tranche status -o json"}};
  }

  void Declare(Arguments& arguments) override {
    arguments.Flag(
        "-w,--watch", watch_,
        "again every second until interrupted; with -o json, a line of JSON whenever it changed");
  }

  Result<int> Run(Context& context) override {
    auto operations = context.DaemonOperations();
    if (!operations) return tl::unexpected<Error>(operations.error());
    if (watch_) return Watch(context, **operations);
    const auto status = (*operations)->GetStatus();
    if (!status) return tl::unexpected<Error>(status.error());
    context.Print(ViewStatus(*status, context.world().clock->Now()));
    return 0;
  }

 private:
  static Result<int> Watch(Context& context, Operations& operations) {
    const auto interrupts = context.world().catch_interrupts();
    std::string last;
    do {
      const auto status = operations.GetStatus();
      if (!status) return tl::unexpected<Error>(status.error());
      const Answer answer = ViewStatus(*status, context.world().clock->Now());
      if (context.structured()) {
        const std::string line = PrintJsonLine(answer.json) + "\n";
        if (line != last) context.PrintRaw(line);
        last = line;
      } else {
        // Home, then clear below: no flicker.
        if (context.out_terminal().can_redraw()) context.PrintRaw("\x1b[H\x1b[J");
        context.Print(answer);
      }
    } while (!interrupts->Wait(kLookAgain));
    return ExitCodeOf(ErrorCode::kInterrupted);
  }

  bool watch_ = false;
};

}  // namespace

std::unique_ptr<Verb> MakeStatusVerb() { return std::make_unique<StatusVerb>(); }

}  // namespace tranche
