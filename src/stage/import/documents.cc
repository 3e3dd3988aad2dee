#include "stage/import/documents.h"

#include <fmt/format.h>

#include <algorithm>

#include "stage/import/formats.h"

namespace tranche::importing {
namespace {

constexpr YamlLimits kLimits = {size_t{16} << 20, 40, 1000000};
constexpr size_t kMostDocuments = 5000;

struct Part {
  std::string_view text;
  int first_line = 1;
};

std::string_view LineAt(std::string_view text, size_t begin) {
  std::string_view line = text.substr(begin, text.find('\n', begin) - begin);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return line;
}

bool IsBlank(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    const std::string_view line = LineAt(text, begin);
    const size_t first = line.find_first_not_of(" \t");
    if (first != std::string_view::npos && line[first] != '#') return false;
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) break;
    begin = end + 1;
  }
  return true;
}

// At lines that are `---`. Nothing of a block of text inside a document begins in the first column.
std::vector<Part> Parts(std::string_view text) {
  std::vector<Part> parts;
  size_t start = 0;
  int first_line = 1, line_number = 0;
  for (size_t begin = 0; begin <= text.size();) {
    ++line_number;
    const std::string_view line = LineAt(text, begin);
    const size_t end = text.find('\n', begin);
    const size_t next = end == std::string_view::npos ? text.size() + 1 : end + 1;
    if (line == "---" || line.substr(0, 4) == "--- " || line == "...") {
      parts.push_back({text.substr(start, begin - start), first_line});
      start = std::min(next, text.size());
      first_line = line_number + 1;
    }
    begin = next;
  }
  parts.push_back({text.substr(start), first_line});
  parts.erase(std::remove_if(parts.begin(), parts.end(),
                             [](const Part& part) { return IsBlank(part.text); }),
              parts.end());
  return parts;
}

void Shift(YamlNode* node, int lines, int columns) {
  node->line += lines;
  node->column += columns;
  for (YamlNode& item : node->items) Shift(&item, lines, columns);
  for (YamlMember& member : node->members) {
    Shift(&member.key, lines, columns);
    Shift(&member.value, lines, columns);
  }
}

bool LooksLikeToml(std::string_view text) {
  for (size_t begin = 0; begin < text.size();) {
    std::string_view line = LineAt(text, begin);
    const size_t end = text.find('\n', begin);
    begin = end == std::string_view::npos ? text.size() : end + 1;
    const size_t first = line.find_first_not_of(" \t");
    if (first == std::string_view::npos || line[first] == '#') continue;
    line = line.substr(first);
    if (line[0] == '[') {
      // A table's name, not a list of anything.
      const size_t close = line.find(']');
      return close != std::string_view::npos &&
             line.substr(0, close).find_first_of(",: ") == std::string_view::npos &&
             line.find(',') == std::string_view::npos;
    }
    const size_t word =
        line.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.");
    if (word == 0 || word == std::string_view::npos) return false;
    const size_t sign = line.find_first_not_of(" \t", word);
    return sign != std::string_view::npos && line[sign] == '=';
  }
  return false;
}

std::string KindOf(const YamlNode& root) {
  const YamlNode* kind = root.Find("kind");
  return kind != nullptr && kind->IsScalar() ? kind->scalar : "";
}

class Opener {
 public:
  Opener(DocumentKind forced, Reading& reading) : forced_(forced), reading_(reading) {}

  void Open(std::string_view text) {
    if (forced_ == DocumentKind::kMps ||
        (forced_ == DocumentKind::kUnknown && LooksLikeToml(text))) {
      OpenToml(text);
      return;
    }
    for (const Part& part : Parts(text)) OpenYaml(part);
  }

  std::vector<Document> Take() { return std::move(documents_); }

 private:
  void OpenToml(std::string_view text) {
    auto root = ParseToml(text);
    if (!root) {
      reading_.AddAt(root.error().line, root.error().column, root.error().message,
                     root.error().hint);
      return;
    }
    documents_.push_back({DocumentKind::kMps, *std::move(root), ""});
  }

  void OpenYaml(const Part& part) {
    if (documents_.size() >= kMostDocuments) {
      reading_.AddAt(part.first_line, 1,
                     fmt::format("the file holds more than {} documents", kMostDocuments),
                     "split it");
      return;
    }
    std::string text(part.text);
    if (std::string indented = WithIndentation(text); !indented.empty()) {
      reading_.NoteAt(part.first_line, "indentation",
                      "the document has lost it; it was read by what its keys mean");
      text = std::move(indented);
    }
    auto root = Parse(text, part.first_line - 1, 0);
    if (root) Place(*std::move(root), text, part.first_line - 1);
  }

  std::optional<YamlNode> Parse(std::string_view text, int lines, int columns) {
    std::vector<YamlError> duplicates;
    auto root = ParseYaml(text, kLimits, &duplicates);
    if (!root) {
      const YamlError& error = root.error();
      reading_.AddAt(error.line > 0 ? error.line + lines : 0,
                     error.line > 0 ? error.column + columns : 0, error.message, error.hint);
      return std::nullopt;
    }
    for (const YamlError& error : duplicates) {
      reading_.AddAt(error.line + lines, error.column + columns, error.message, error.hint);
    }
    Shift(&*root, lines, columns);
    return *std::move(root);
  }

  // `text` is what the document was read from, after `lines` lines of the file.
  void Place(YamlNode root, std::string_view text, int lines) {
    if (!root.IsMap()) {
      reading_.Add(root, "the document is " + Describe(root) + ", not a configuration",
                   "import reads " + fmt::format("{}", fmt::join(ImportFormats(), ", ")));
      return;
    }
    const std::string kind = KindOf(root);
    if (kind == "ConfigMap") {
      OpenConfigMap(root, text, lines);
      return;
    }
    if (kind == "List") {
      const YamlNode* items = reading_.ListAt(root, "items", "items");
      if (items == nullptr) return;
      for (const YamlNode& item : items->items) {
        if (item.IsMap() && KindOf(item) == "ConfigMap") {
          OpenConfigMap(item, text, lines);
        } else if (documents_.size() < kMostDocuments) {
          documents_.push_back({DocumentKind::kKubernetes, item, ""});
        }
      }
      return;
    }
    const DocumentKind found = Detect(root, kind);
    documents_.push_back({found, std::move(root), ""});
  }

  DocumentKind Detect(const YamlNode& root, const std::string& kind) {
    if (root.Find("mig-configs") != nullptr) return DocumentKind::kMigParted;
    if (!kind.empty() && root.Find("apiVersion") != nullptr) return DocumentKind::kKubernetes;
    if (root.Find("sharing") != nullptr || root.Find("flags") != nullptr) {
      return DocumentKind::kDevicePlugin;
    }
    if (forced_ != DocumentKind::kUnknown) return forced_;
    const YamlNode* version = root.Find("version");
    if (root.Find("workloads") != nullptr) {
      reading_.Add(root, "this is a Tranche spec already", "tranche plan -f FILE");
      return DocumentKind::kUnknown;
    }
    if (version != nullptr && version->IsScalar() && version->scalar == "v1") {
      return DocumentKind::kDevicePlugin;
    }
    reading_.Add(root, "this is none of the formats that import reads",
                 "it reads device plugin configs (sharing:), mig-parted configs (mig-configs:), "
                 "ConfigMaps with either, Kubernetes objects and MPS v3 TOML; --format forces one");
    return DocumentKind::kUnknown;
  }

  void OpenConfigMap(const YamlNode& map, std::string_view text, int lines) {
    const YamlNode* data = reading_.MapAt(map, "data", "data");
    if (data == nullptr || data->members.empty()) {
      reading_.Add(map, "the ConfigMap has no data", "data: {config.yaml: ...}");
      return;
    }
    for (const YamlMember& member : data->members) {
      if (!member.value.IsScalar()) {
        reading_.Add(
            member.value,
            fmt::format("data.{} is {}, not a text", member.key.scalar, Describe(member.value)),
            "data.NAME: | and the configuration below, further in");
        continue;
      }
      if (member.value.scalar.empty()) {
        reading_.Note(member.key, "data." + member.key.scalar, "is empty");
        continue;
      }
      // What is inside a block of text stands on the lines below its sign.
      const auto [inner_lines, inner_columns] = PlaceOfBlock(member.value, text, lines);
      auto root = Parse(member.value.scalar, inner_lines, inner_columns);
      if (!root) continue;
      if (!root->IsMap()) {
        reading_.Add(*root, fmt::format("data.{} is {}, not a configuration", member.key.scalar,
                                        Describe(*root)));
        continue;
      }
      const DocumentKind found = Detect(*root, KindOf(*root));
      documents_.push_back({found, *std::move(root), member.key.scalar});
    }
  }

  // How many lines and columns to add to places inside the text of a scalar.
  static std::pair<int, int> PlaceOfBlock(const YamlNode& node, std::string_view text, int lines) {
    const int line = node.line - lines;  // in `text`
    size_t begin = 0;
    for (int i = 1; i < line; ++i) {
      const size_t end = text.find('\n', begin);
      if (end == std::string_view::npos) return {node.line - 1, 0};
      begin = end + 1;
    }
    const std::string_view here = LineAt(text, begin);
    const size_t column = static_cast<size_t>(node.column - 1);
    if (column >= here.size() || here[column] != '|') return {node.line - 1, 0};
    const size_t end = text.find('\n', begin);
    if (end == std::string_view::npos) return {node.line, 0};
    const size_t indent = LineAt(text, end + 1).find_first_not_of(' ');
    return {node.line, indent == std::string_view::npos ? 0 : static_cast<int>(indent)};
  }

  DocumentKind forced_;
  Reading& reading_;
  std::vector<Document> documents_;
};

}  // namespace

std::vector<Document> DocumentsOf(std::string_view text, DocumentKind forced, Reading& reading) {
  Opener opener(forced, reading);
  opener.Open(text);
  return opener.Take();
}

}  // namespace tranche::importing
