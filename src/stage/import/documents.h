#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/yaml.h"
#include "stage/import/reading.h"

namespace tranche::importing {

// What one document of a file is.
enum class DocumentKind { kDevicePlugin, kMigParted, kKubernetes, kMps, kUnknown };

struct Document {
  DocumentKind kind = DocumentKind::kUnknown;
  YamlNode root;    // lines are those of the file
  std::string key;  // in a ConfigMap: under which key it was; "" otherwise
};

// Takes the file apart: YAML documents, what is inside ConfigMaps and Lists, TOML. What cannot be
// read is a mistake of `reading`. `forced` is what a document is that does not say itself.
std::vector<Document> DocumentsOf(std::string_view text, DocumentKind forced, Reading& reading);

// A document of which some page has dropped the indentation, with it put back by what the keys
// mean;
// "" when it is not such a document. Lines stay where they are.
std::string WithIndentation(std::string_view text);

}  // namespace tranche::importing
