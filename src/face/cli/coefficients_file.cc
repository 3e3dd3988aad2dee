#include "face/cli/coefficients_file.h"

#include "face/cli/files.h"

namespace tranche {

Result<UsedCoefficients> LoadCoefficients(const std::string& path, Context& context) {
  if (path.empty()) return ConfiguredCoefficients(context.world().configurations);
  const auto text = ReadWholeFile(path, size_t{1} << 20);
  if (!text) return tl::unexpected<Error>(text.error());
  auto coefficients = ParsePerformance(*text, path);
  if (!coefficients) {
    Error why = coefficients.error();
    if (why.hint.empty()) why.hint = "such a file comes from 'tranche calibrate --out'";
    return tl::unexpected<Error>(why);
  }
  return UsedCoefficients{std::make_shared<const PerformanceCoefficients>(*std::move(coefficients)),
                          path};
}

std::string NameOf(const UsedCoefficients& coefficients) {
  return coefficients.from.empty() ? "the built-in coefficients" : coefficients.from;
}

}  // namespace tranche
