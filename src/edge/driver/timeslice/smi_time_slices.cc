#include "edge/driver/timeslice/smi_time_slices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <sstream>

#include "base/subprocess.h"

namespace tranche {
namespace {

constexpr Duration kTimeout = std::chrono::seconds(20);
constexpr const char* kLeaveOut =
    "leave `time_slice` out of the spec: the GPU then keeps the driver's own";

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string FirstLine(const std::string& text) {
  const size_t start = text.find_first_not_of(" \n\r\t");
  if (start == std::string::npos) return "it said nothing";
  return text.substr(start, std::min(text.find('\n', start), start + 300) - start);
}

// What nvidia-smi meant by ending so; it says in words what NVML's code was.
Error Refusal(const std::string& output, const ProcessEnd& end) {
  const std::string words = Lower(output);
  const auto says = [&](const char* what) { return words.find(what) != std::string::npos; };
  const std::string message =
      fmt::format("nvidia-smi compute-policy: {} ({})", FirstLine(output), end.Text());
  if (says("not supported") || says("notsupported") || says("unsupported") ||
      says("invalid combination")) {
    return {ErrorCode::kUnsupported, message, kLeaveOut};
  }
  if (says("permission")) {
    return {ErrorCode::kPermission, message, "setting time slices needs root"};
  }
  return {ErrorCode::kFailed, message, "look at `nvidia-smi compute-policy -l`"};
}

class SmiTimeSlices final : public TimeSlices {
 public:
  SmiTimeSlices(std::string path, std::vector<std::string> environment)
      : path_(std::move(path)), environment_(std::move(environment)) {}

  Result<TimeSlice> Get(const std::string& gpu_uuid) override {
    const Result<std::string> output = Run({"-i", gpu_uuid, "-l"});
    if (!output) return tl::unexpected(output.error());
    return ReadComputePolicy(*output);
  }

  Status Set(const std::string& gpu_uuid, TimeSlice time_slice) override {
    const Result<std::string> output =
        Run({"-i", gpu_uuid, fmt::format("--set-timeslice={}", static_cast<int>(time_slice))});
    if (!output) return tl::unexpected(output.error());
    return {};
  }

 private:
  Result<std::string> Run(const std::vector<std::string>& options) const {
    SpawnOptions spawn;
    spawn.argv = {"nvidia-smi", "compute-policy"};
    spawn.argv.insert(spawn.argv.end(), options.begin(), options.end());
    spawn.environment = environment_;
    spawn.path = path_;
    const Result<ProgramResult> ran = RunProgram(std::move(spawn), kTimeout);
    if (!ran) {
      if (ran.error().code != ErrorCode::kNotFound) return tl::unexpected(ran.error());
      return Fail(ErrorCode::kUnsupported,
                  "time slices are set by nvidia-smi, which is not installed here",
                  fmt::format("install it (it is part of the driver), or {}", kLeaveOut));
    }
    if (ran->end.exit_code == 0) return ran->output;
    return tl::unexpected(Refusal(ran->output, ran->end));
  }

  const std::string path_;
  const std::vector<std::string> environment_;
};

}  // namespace

std::unique_ptr<TimeSlices> MakeSmiTimeSlices(std::string path,
                                              std::vector<std::string> environment) {
  return std::make_unique<SmiTimeSlices>(std::move(path), std::move(environment));
}

Result<TimeSlice> ReadComputePolicy(const std::string& output) {
  std::istringstream lines(Lower(output));
  std::string line;
  while (std::getline(lines, line)) {
    size_t at = line.find("timeslice");
    if (at == std::string::npos) at = line.find("time slice");
    if (at == std::string::npos) continue;
    std::istringstream words(line.substr(std::min(line.size(), at + 9)));
    std::string word;
    while (words >> word) {
      word.erase(std::remove_if(word.begin(), word.end(),
                                [](unsigned char c) { return std::isalnum(c) == 0; }),
                 word.end());
      for (const TimeSlice time_slice : kAllTimeSlices) {
        if (word == TimeSliceName(time_slice)) return time_slice;
        if (word == std::to_string(static_cast<int>(time_slice))) return time_slice;
      }
    }
  }
  return Fail(ErrorCode::kUnsupported,
              fmt::format("nvidia-smi lists no time slice for the GPU: {}", FirstLine(output)),
              kLeaveOut);
}

}  // namespace tranche
