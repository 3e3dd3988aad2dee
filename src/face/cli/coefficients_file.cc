#include "face/cli/coefficients_file.h"

#include "face/cli/files.h"

namespace tranche {

Result<PerformanceCoefficients> LoadCoefficients(const std::string& path) {
  if (path.empty()) return DefaultPerformance();
  const auto text = ReadWholeFile(path, size_t{1} << 20);
  if (!text) return tl::unexpected<Error>(text.error());
  auto coefficients = ParsePerformance(*text, path);
  if (!coefficients) {
    Error why = coefficients.error();
    if (why.hint.empty()) why.hint = "such a file comes from 'tranche calibrate --out'";
    return tl::unexpected<Error>(why);
  }
  return coefficients;
}

}  // namespace tranche
