#include "engine/coefficients.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace tranche {
namespace {

constexpr uintmax_t kLargestFile = uintmax_t{1} << 20;

Result<UsedCoefficients> Read(const std::string& path) {
  std::error_code error;
  if (std::filesystem::file_size(path, error) > kLargestFile || error) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("cannot use {}: {}", path,
                            error ? error.message() : "it is too large for coefficients"),
                "such a file comes from 'tranche calibrate --out'");
  }
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) {
    return Fail(ErrorCode::kPermission, fmt::format("cannot read {}", path),
                "make it readable, or remove it to predict with the built-in coefficients");
  }
  auto values = ParsePerformance(text.str(), path);
  if (!values) {
    Error why = values.error();
    if (why.hint.empty()) why.hint = "such a file comes from 'tranche calibrate --out'";
    return tl::unexpected<Error>(why);
  }
  return UsedCoefficients{std::make_shared<const PerformanceCoefficients>(*std::move(values)),
                          path};
}

}  // namespace

Result<UsedCoefficients> ConfiguredCoefficients(const std::vector<std::string>& directories) {
  for (const std::string& directory : directories) {
    const std::string path = directory + "/coefficients.yaml";
    std::error_code error;
    if (std::filesystem::exists(path, error)) return Read(path);
  }
  auto values = DefaultPerformance();
  if (!values) return tl::unexpected(values.error());
  return UsedCoefficients{std::make_shared<const PerformanceCoefficients>(*std::move(values)), ""};
}

}  // namespace tranche
