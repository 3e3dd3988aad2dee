#include "face/cli/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/json.h"
#include "stage/request/parser.h"

namespace tranche {
namespace {

constexpr size_t kLargestSpec = size_t{16} << 20;
constexpr size_t kLargestDocument = size_t{64} << 20;

tl::unexpected<Error> CannotRead(const std::string& path) {
  return Fail(errno == EACCES ? ErrorCode::kPermission : ErrorCode::kInvalid,
              fmt::format("cannot read {}: {}", path, std::strerror(errno)));
}

}  // namespace

Result<std::string> ReadWholeFile(const std::string& path, size_t limit) {
  const int fd = path == "-" ? dup(STDIN_FILENO) : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return CannotRead(path);
  std::string text;
  char buffer[1 << 16];
  ssize_t got = 0;
  while (text.size() <= limit) {
    got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  const int error = errno;
  close(fd);
  errno = error;
  if (got < 0) return CannotRead(path);
  if (text.size() > limit) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("{} is larger than {}", path, FormatBytes(Bytes{limit})),
                "is it the right file?");
  }
  return text;
}

Status WriteWholeFile(const std::string& path, const std::string& text) {
  const std::string beside = fmt::format("{}.{}.tmp", path, getpid());
  const auto cannot = [&] {
    const Error error{ErrorCode::kFailed,
                      fmt::format("cannot write {}: {}", path, std::strerror(errno))};
    unlink(beside.c_str());
    return tl::unexpected<Error>(error);
  };
  const int fd = open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return cannot();
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t wrote = write(fd, text.data() + done, text.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) {
      close(fd);
      return cannot();
    }
    done += static_cast<size_t>(wrote);
  }
  if (close(fd) != 0 || rename(beside.c_str(), path.c_str()) != 0) return cannot();
  return {};
}

Result<Spec> LoadSpec(const std::string& path, const Catalog& catalog) {
  const auto text = ReadWholeFile(path, kLargestSpec);
  if (!text) return tl::unexpected<Error>(text.error());
  std::error_code error;
  const auto directory = path == "-" ? std::filesystem::current_path(error)
                                     : std::filesystem::absolute(path, error).parent_path();
  auto spec = ParseSpec(*text, path == "-" ? "<stdin>" : path,
                        directory.lexically_normal().string(), catalog);
  if (spec) return std::move(*spec);
  std::string all;
  for (const Diagnostic& diagnostic : spec.error()) all += FormatDiagnostic(diagnostic) + "\n";
  const size_t count = spec.error().size();
  all += fmt::format("{} {} in {}; nothing was changed", count, count == 1 ? "mistake" : "mistakes",
                     path);
  return Fail(ErrorCode::kInvalid, all);
}

Result<Machine> LoadMachine(const std::string& path) {
  const auto text = ReadWholeFile(path, kLargestDocument);
  if (!text) return tl::unexpected<Error>(text.error());
  auto machine = ParseJson(*text).and_then(MachineFromJson);
  if (!machine) {
    Error why = machine.error();
    why.message = path + ": " + why.message;
    if (why.hint.empty()) why.hint = "a machine file comes from 'tranche inventory -o json'";
    return tl::unexpected<Error>(why);
  }
  return machine;
}

Result<Plan> LoadPlan(const std::string& path) {
  const auto text = ReadWholeFile(path, kLargestDocument);
  if (!text) return tl::unexpected<Error>(text.error());
  auto plan = ParseJson(*text).and_then(PlanFromJson);
  if (!plan) {
    Error why = plan.error();
    why.message = path + ": " + why.message;
    if (why.hint.empty()) {
      why.hint = "a plan file comes from 'tranche plan --out'; a spec is applied with 'apply -f'";
    }
    return tl::unexpected<Error>(why);
  }
  return plan;
}

}  // namespace tranche
