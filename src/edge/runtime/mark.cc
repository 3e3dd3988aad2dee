#include <fmt/format.h>

#include <charconv>

#include "edge/runtime/runtime.h"

namespace tranche {
namespace {

// Takes what stands before the next '/' off `text`.
std::string_view TakePart(std::string_view* text) {
  const size_t slash = text->find('/');
  const std::string_view part = text->substr(0, slash);
  *text = slash == std::string_view::npos ? std::string_view() : text->substr(slash + 1);
  return part;
}

template <typename T>
bool ParseNumber(std::string_view text, T* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size() && *number >= 0;
}

}  // namespace

std::string ReplicaMark::Text() const {
  return fmt::format("{}/{}/{}/{}", deployment, workload, replica, generation);
}

Result<ReplicaMark> ParseReplicaMark(std::string_view text) {
  ReplicaMark mark;
  std::string_view rest = text;
  mark.deployment = TakePart(&rest);
  mark.workload = TakePart(&rest);
  const std::string_view replica = TakePart(&rest);
  if (mark.deployment.empty() || mark.workload.empty() || !ParseNumber(replica, &mark.replica) ||
      !ParseNumber(rest, &mark.generation)) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not the mark of a replica", text));
  }
  return mark;
}

}  // namespace tranche
