#include "face/cli/price_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "face/cli/files.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestPriceFile = size_t{64} << 20;

Result<std::vector<std::string>> FilesOf(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string extension = it->path().extension();
    if (extension == ".csv" || extension == ".json") files.push_back(it->path());
  }
  if (error) {
    return Fail(ErrorCode::kInvalid, fmt::format("cannot read {}: {}", folder, error.message()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

Result<PriceList> LoadPrices(const std::string& path, const Catalog& catalog) {
  std::error_code error;
  std::vector<std::string> files = {path};
  if (path != "-" && fs::is_directory(path, error)) {
    auto found = FilesOf(path);
    if (!found) return tl::unexpected<Error>(found.error());
    if (found->empty()) {
      return Fail(ErrorCode::kInvalid, fmt::format("{} holds no .csv or .json file", path));
    }
    files = std::move(*found);
  }
  PriceList all;
  for (const std::string& file : files) {
    const auto text = ReadWholeFile(file, kLargestPriceFile);
    if (!text) return tl::unexpected<Error>(text.error());
    auto list = ParsePrices(*text, file == "-" ? "<stdin>" : file, catalog);
    if (!list) return tl::unexpected<Error>(list.error());
    if (auto ok = all.Append(std::move(*list)); !ok) return FailedWhile(file, ok.error());
  }
  return all;
}

Result<PriceList> LoadConfiguredPrices(const std::vector<std::string>& directories,
                                       const Catalog& catalog) {
  for (const std::string& directory : directories) {
    for (const char* name : {"prices.csv", "prices.json", "prices"}) {
      std::error_code error;
      const std::string path = directory + "/" + name;
      if (fs::exists(path, error)) return LoadPrices(path, catalog);
    }
  }
  return PriceList{};
}

}  // namespace tranche
