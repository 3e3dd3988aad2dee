#include "face/cli/share_options.h"

#include <fmt/format.h>

namespace tranche {

void ShareOptions::Declare(Arguments& arguments) {
  arguments.Option("--memory", "SIZE", memory_, "device memory at most: 10GiB")
      .Option("--compute", "SHARE", compute_, "share of the GPU's time: 30%")
      .Option("--compute-limit", "SHARE", compute_limit_,
              "at most so much of its time, when it is spare (default: as --compute)");
}

Result<ShareOptions::Wish> ShareOptions::Read() const {
  Wish wish;
  if (memory_.empty() && compute_.empty() && compute_limit_.empty())
    return Fail(ErrorCode::kInvalid, "nothing to limit", "say --memory 10GiB or --compute 30%");
  if (!compute_.empty()) {
    const auto share = ParseFraction(compute_);
    if (!share) return FailedWhile("--compute", share.error());
    wish.compute = Share<Fraction>{*share, *share};
  }
  if (!compute_limit_.empty()) {
    const auto limit = ParseFraction(compute_limit_);
    if (!limit) return FailedWhile("--compute-limit", limit.error());
    if (!wish.compute) {
      return Fail(ErrorCode::kInvalid, "--compute-limit without --compute",
                  "say what it needs at least: --compute 30%");
    }
    if (*limit < wish.compute->request) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("--compute-limit {} is below --compute {}", compute_limit_, compute_),
                  "a limit is at least what is asked for");
    }
    wish.compute->limit = *limit;
  }
  if (const Status read = ReadMemory(&wish); !read) return tl::unexpected<Error>(read.error());
  return wish;
}

Result<ShareOptions::Wish> ShareOptions::ReadWhole() const {
  Wish wish;
  if (!compute_.empty() || !compute_limit_.empty()) {
    return Fail(ErrorCode::kInvalid, "--compute of a GPU that is its own",
                "leave it out, or --mechanism exclusive");
  }
  if (const Status read = ReadMemory(&wish); !read) return tl::unexpected<Error>(read.error());
  return wish;
}

Status ShareOptions::ReadMemory(Wish* wish) const {
  if (memory_.empty()) return {};
  const auto memory = ParseBytes(memory_);
  if (!memory) return FailedWhile("--memory", memory.error());
  if (memory->value == 0) {
    return Fail(ErrorCode::kInvalid, "--memory 0: a program that may hold nothing cannot run",
                "say how much it needs, or leave it out");
  }
  wish->memory = *memory;
  return {};
}

}  // namespace tranche
