#include "face/cli/model_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "decide/sizing/hf_config.h"
#include "decide/sizing/shape.h"
#include "decide/sizing/tensor_files.h"
#include "decide/sizing/weights.h"
#include "face/cli/files.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLargestConfig = size_t{16} << 20;
constexpr size_t kLargestIndex = size_t{64} << 20;
constexpr uint64_t kLargestGgufHeader = uint64_t{512} << 20;
constexpr size_t kMostFiles = 2000;

// A regular file that is read here and there.
class OpenFile {
 public:
  static Result<OpenFile> Open(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info = {};
    if (fd < 0 || fstat(fd, &info) != 0) {
      const int error = errno;
      if (fd >= 0) close(fd);
      return Fail(error == EACCES ? ErrorCode::kPermission : ErrorCode::kInvalid,
                  fmt::format("cannot read {}: {}", path, std::strerror(error)));
    }
    OpenFile file(fd, static_cast<uint64_t>(std::max<off_t>(0, info.st_size)));
    if (!S_ISREG(info.st_mode)) {
      return Fail(ErrorCode::kInvalid, fmt::format("{} is not a file", path));
    }
    return file;
  }
  OpenFile(OpenFile&& other) noexcept : fd_(other.fd_), size_(other.size_) { other.fd_ = -1; }
  OpenFile& operator=(OpenFile&&) = delete;
  ~OpenFile() {
    if (fd_ >= 0) close(fd_);
  }

  uint64_t size() const { return size_; }

  // Up to `count` bytes from `offset`; fewer at the end of the file.
  Result<std::string> Read(uint64_t offset, uint64_t count) const {
    std::string bytes(std::min(count, size_ - std::min(size_, offset)), '\0');
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got =
          pread(fd_, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return Fail(ErrorCode::kInvalid, std::strerror(errno));
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    bytes.resize(done);
    return bytes;
  }

 private:
  OpenFile(int fd, uint64_t size) : fd_(fd), size_(size) {}
  int fd_;
  uint64_t size_;
};

Result<TensorTable> ReadSafetensors(const std::string& path) {
  const auto file = OpenFile::Open(path);
  if (!file) return tl::unexpected<Error>(file.error());
  const auto first = file->Read(0, 8);
  if (!first) return FailedWhile(path, first.error());
  const auto size = SafetensorsHeaderBytes(*first, file->size());
  if (!size) return FailedWhile(path, size.error());
  const auto header = file->Read(8, *size);
  if (!header) return FailedWhile(path, header.error());
  auto table = ParseSafetensorsHeader(*header, file->size());
  if (!table) return FailedWhile(path, table.error());
  return table;
}

Result<GgufHeader> ReadGguf(const std::string& path, const std::string& name) {
  const auto file = OpenFile::Open(path);
  if (!file) return tl::unexpected<Error>(file.error());
  // How long the header is, only the header says. The vocabulary makes some megabytes of it.
  for (uint64_t count = uint64_t{8} << 20;; count *= 4) {
    const auto begin = file->Read(0, count);
    if (!begin) return FailedWhile(path, begin.error());
    auto header = ParseGgufHeader(*begin, file->size(), name);
    if (header) return header;
    if (header.error().code != ErrorCode::kPartial) return FailedWhile(path, header.error());
    if (count >= kLargestGgufHeader) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("{}: its header goes on after {}", path, FormatBytes({count})),
                  "no real header does");
    }
  }
}

bool IsFile(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

std::vector<fs::path> FilesWith(const fs::path& folder, const std::string& extension) {
  std::vector<fs::path> files;
  std::error_code error;
  for (auto at = fs::directory_iterator(folder, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    if (at->path().extension() == extension && IsFile(at->path())) files.push_back(at->path());
    if (files.size() >= kMostFiles) break;
  }
  std::sort(files.begin(), files.end());
  return files;
}

// All shards of one checkpoint, header by header.
Result<TensorTable> ReadShards(const fs::path& folder) {
  std::vector<fs::path> files;
  const fs::path index_file = folder / "model.safetensors.index.json";
  if (IsFile(index_file)) {
    const auto text = ReadWholeFile(index_file.string(), kLargestIndex);
    if (!text) return tl::unexpected<Error>(text.error());
    const auto index = ParseSafetensorsIndex(*text);
    if (!index) return FailedWhile(index_file.string(), index.error());
    for (const std::string& file : index->files) files.push_back(folder / file);
    if (std::none_of(files.begin(), files.end(), IsFile) && index->total_bytes > 0) {
      // The index alone was fetched; what it says of the total will do.
      TensorTable table;
      table.tensors.push_back({"all", "", {}, 0, index->total_bytes});
      return table;
    }
  } else {
    files = FilesWith(folder, ".safetensors");
    // Some repositories keep the same weights a second time under another layout.
    std::erase_if(files, [&](const fs::path& file) {
      return file.filename().string().starts_with("consolidated") && files.size() > 1;
    });
  }
  TensorTable all;
  for (const fs::path& file : files) {
    auto table = ReadSafetensors(file.string());
    if (!table) return table;
    std::move(table->tensors.begin(), table->tensors.end(), std::back_inserter(all.tensors));
  }
  return all;
}

Result<SizedModel> FromConfig(const fs::path& config, const std::string& name) {
  const auto text = ReadWholeFile(config.string(), kLargestConfig);
  if (!text) return tl::unexpected<Error>(text.error());
  auto model = ModelFromHfConfig(*text, name);
  if (!model) return FailedWhile(config.string(), model.error());
  return model;
}

// What the headers say of the size rules over what the fields imply.
void TakeExact(const TensorTable& table, SizedModel* model) {
  if (table.tensors.empty()) return;
  model->exact_weights = Bytes{static_cast<uint64_t>(table.bytes())};
  const double implied = model->model.parameters;
  // Packed types hold several parameters in one value, so their count says nothing.
  if (table.values() > 0 && table.values() > 0.9 * implied && table.values() < 1.5 * implied) {
    model->model.parameters = std::max(table.values(), model->model.embedding_parameters);
  }
  model->source += model->source == "config.json" ? " and safetensors headers" : "";
}

// "x-00001-of-00003.gguf" stands for all three.
Result<SizedModel> FromGguf(const fs::path& path) {
  const std::string name = path.stem().string();
  auto first = ReadGguf(path.string(), name);
  if (!first) return tl::unexpected<Error>(first.error());
  SizedModel model = first->model;
  const size_t of = name.rfind("-of-");
  if (of != std::string::npos && of >= 6 && name.substr(of - 6, 6) == "-00001") {
    double bytes = first->table.bytes();
    double values = first->table.values();
    const std::string stem = name.substr(0, of - 5);
    const std::string tail = name.substr(of);
    int count = 0;
    std::from_chars(tail.data() + 4, tail.data() + tail.size(), count);
    for (int i = 2; i <= std::min(count, 999); ++i) {
      const fs::path part = path.parent_path() / fmt::format("{}{:05}{}.gguf", stem, i, tail);
      auto next = OpenFile::Open(part.string());
      if (!next) return tl::unexpected<Error>(next.error());
      // Only the first part describes the model; of the others the tensors count.
      bytes += static_cast<double>(next->size());
      values += static_cast<double>(next->size()) * first->table.values() /
                std::max(1.0, first->table.bytes());
    }
    model.exact_weights = Bytes{static_cast<uint64_t>(bytes)};
    model.model.parameters = std::max(values, model.model.embedding_parameters);
  }
  return model;
}

Result<SizedModel> FromFolder(const fs::path& folder) {
  const std::string name = fs::absolute(folder).lexically_normal().filename().string();
  const std::vector<fs::path> gguf = FilesWith(folder, ".gguf");
  if (IsFile(folder / "config.json")) {
    auto model = FromConfig(folder / "config.json", name);
    if (!model) return model;
    const auto table = ReadShards(folder);
    if (!table) return tl::unexpected<Error>(table.error());
    TakeExact(*table, &*model);
    return model;
  }
  if (!gguf.empty()) return FromGguf(gguf.front());
  const auto table = ReadShards(folder);
  if (!table) return tl::unexpected<Error>(table.error());
  if (table->tensors.empty()) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("{} has no config.json, safetensors or GGUF file", folder.string()),
                "give the folder of a checkpoint, or one of its files");
  }
  auto model = ModelFromTensors(*table, name);
  if (!model) return FailedWhile(folder.string(), model.error());
  TakeExact(*table, &*model);
  return model;
}

Result<SizedModel> FromPath(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) return FromFolder(path);
  const fs::path file(path);
  const std::string extension = file.extension().string();
  if (extension == ".gguf") return FromGguf(file);
  if (extension == ".safetensors") {
    const auto table = ReadSafetensors(path);
    if (!table) return tl::unexpected<Error>(table.error());
    const fs::path config = file.parent_path() / "config.json";
    auto model = IsFile(config) ? FromConfig(config, file.stem().string())
                                : ModelFromTensors(*table, file.stem().string());
    if (!model) return FailedWhile(path, model.error());
    TakeExact(*table, &*model);
    return model;
  }
  if (file.filename().string().ends_with(".index.json")) return FromFolder(file.parent_path());
  // A file of any other name may be a config or, by its first bytes, a GGUF file.
  const auto opened = OpenFile::Open(path);
  if (!opened) return tl::unexpected<Error>(opened.error());
  const auto magic = opened->Read(0, 4);
  if (magic && *magic == "GGUF") return FromGguf(file);
  const std::string name = file.filename() == "config.json"
                               ? fs::absolute(file).parent_path().filename().string()
                               : file.stem().string();
  return FromConfig(file, name);
}

struct Suffix {
  const char* text;  // normalised
  const char* precision;
};
constexpr std::array<Suffix, 20> kSuffixes = {{{"-fp8-dynamic", "fp8"},
                                               {"-fp8-block", "fp8"},
                                               {"-fp8", "fp8"},
                                               {"-awq-int4", "awq"},
                                               {"-gptq-int4", "gptq"},
                                               {"-gptq-int8", "int8"},
                                               {"-awq", "awq"},
                                               {"-gptq", "gptq"},
                                               {"-int4", "int4"},
                                               {"-int8", "int8"},
                                               {"-w4a16", "int4"},
                                               {"-w8a8", "int8"},
                                               {"-quantized.w8a8", "int8"},
                                               {"-quantized.w4a16", "int4"},
                                               {"-bnb-4bit", "nf4"},
                                               {"-nvfp4", "nvfp4"},
                                               {"-mxfp4", "mxfp4"},
                                               {"-bf16", "bf16"},
                                               {"-fp16", "fp16"},
                                               {"-gguf", "q4_k_m"}}};
// What publishers append that changes no size.
constexpr std::array<const char*, 12> kVariants = {"-instruct", "-it",   "-chat",  "-hf",
                                                   "-base",     "-2507", "-2512",  "-thinking",
                                                   "-v2",       "-pt",   "-turbo", "-preview"};

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

const CatalogModel* InCatalog(const std::string& name, const Catalog& catalog) {
  const auto found = catalog.FindModel(name);
  return found ? *found : nullptr;
}

// The entry behind a name with suffixes that the catalog does not list.
std::optional<SizedModel> ByVariant(const std::string& name, const Catalog& catalog) {
  std::string rest = Lower(name);
  if (const size_t slash = rest.rfind('/'); slash != std::string::npos) rest.erase(0, slash + 1);
  if (rest.starts_with("meta-llama-")) rest.erase(0, 5);
  std::string precision;
  const auto drop = [&](const char* suffix) {
    if (!rest.ends_with(suffix)) return false;
    rest.resize(rest.size() - std::strlen(suffix));
    return true;
  };
  for (int round = 0; round < 6; ++round) {
    if (const CatalogModel* model = InCatalog(rest, catalog)) {
      SizedModel sized;
      sized.model = *model;
      sized.source = "catalog";
      if (!precision.empty()) sized.model.dtype = precision;
      return sized;
    }
    bool dropped = false;
    for (const Suffix& suffix : kSuffixes) {
      if (precision.empty() && !dropped && drop(suffix.text)) {
        precision = suffix.precision;
        dropped = true;
      }
    }
    for (const char* variant : kVariants) dropped = dropped || drop(variant);
    if (!dropped) return std::nullopt;
  }
  return std::nullopt;
}

bool LooksLikePath(const std::string& text) {
  return text.starts_with('/') || text.starts_with("./") || text.starts_with("../") ||
         text.starts_with('~') || text.ends_with(".json") || text.ends_with(".gguf") ||
         text.ends_with(".safetensors");
}

}  // namespace

Result<double> ParseParameters(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  const std::string unit = Lower(std::string(stop, end));
  const double factor = unit.empty()  ? 1
                        : unit == "k" ? 1e3
                        : unit == "m" ? 1e6
                        : unit == "b" ? 1e9
                        : unit == "t" ? 1e12
                                      : 0;
  const double count = value * factor;
  if (error != std::errc() || !(count >= 1e6 && count <= 1e14)) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is no number of parameters", text),
                "write it like 7B or 350M");
  }
  return count;
}

SizedModel ModelOfSize(double parameters) {
  SizedModel sized;
  sized.model = TypicalModel(parameters);
  sized.model.name = fmt::format("{:.4g}B", parameters / 1e9);
  sized.architecture_known = false;
  sized.source = "number of parameters";
  return sized;
}

Result<SizedModel> FindModel(const std::string& name_or_path, const Catalog& catalog) {
  std::error_code error;
  if (LooksLikePath(name_or_path) || fs::exists(name_or_path, error)) return FromPath(name_or_path);
  if (const CatalogModel* model = InCatalog(name_or_path, catalog)) {
    SizedModel sized;
    sized.model = *model;
    sized.source = "catalog";
    return sized;
  }
  if (auto variant = ByVariant(name_or_path, catalog)) return *std::move(variant);
  if (const auto parameters = ParseParameters(name_or_path)) return ModelOfSize(*parameters);
  const auto found = catalog.FindModel(name_or_path);
  Error why = found.error();
  why.hint += why.hint.empty() ? "" : "; ";
  why.hint += "or give the path of its config.json, safetensors or GGUF file, or --parameters 7B";
  return tl::unexpected<Error>(why);
}

}  // namespace tranche
