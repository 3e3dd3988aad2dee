#include "stage/import/import.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/suggest.h"
#include "stage/import/documents.h"
#include "stage/import/formats.h"

namespace tranche {
namespace {

using importing::Document;
using importing::DocumentKind;
using importing::Reading;

const char* NameOf(DocumentKind kind) {
  switch (kind) {
    case DocumentKind::kDevicePlugin:
      return "device-plugin";
    case DocumentKind::kMigParted:
      return "mig-parted";
    case DocumentKind::kKubernetes:
      return "kubernetes";
    case DocumentKind::kMps:
      return "mps";
    case DocumentKind::kUnknown:
      break;
  }
  return "";
}

DocumentKind KindNamed(const std::string& name) {
  for (const DocumentKind kind : {DocumentKind::kDevicePlugin, DocumentKind::kMigParted,
                                  DocumentKind::kKubernetes, DocumentKind::kMps}) {
    if (name == NameOf(kind)) return kind;
  }
  return DocumentKind::kUnknown;
}

// A configuration that can be taken by name: a key of a ConfigMap, or one of a mig-parted file.
struct Choice {
  size_t document;
  std::string config;  // of mig-parted
  std::string key;     // of a ConfigMap
  std::string name() const { return config.empty() ? key : config; }
};

std::vector<Choice> ChoicesOf(const std::vector<Document>& documents) {
  std::vector<Choice> choices;
  for (size_t i = 0; i < documents.size(); ++i) {
    const Document& document = documents[i];
    if (document.kind == DocumentKind::kMigParted) {
      for (const std::string& name : importing::MigPartedConfigs(document.root)) {
        choices.push_back({i, name, document.key});
      }
    } else if (document.kind == DocumentKind::kDevicePlugin) {
      choices.push_back({i, "", document.key});
    }
  }
  return choices;
}

// Of several the one that was asked for, else the one that a node without a label would get, else
// the first; nothing where the name is none of them.
std::optional<size_t> Choose(const std::vector<Choice>& choices, const std::string& wanted) {
  for (const std::string& name :
       wanted.empty() ? std::vector<std::string>{"default", "any"} : std::vector{wanted}) {
    for (size_t i = 0; i < choices.size(); ++i) {
      if (choices[i].name() == name || choices[i].key == name) return i;
    }
  }
  if (wanted.empty() && !choices.empty()) return 0;
  return std::nullopt;
}

class Importer {
 public:
  Importer(const std::string& file, const ImportOptions& options, const Catalog& catalog)
      : file_(file), options_(options), reading_(options, catalog) {}

  tl::expected<Imported, std::vector<ImportMistake>> Run(std::string_view text) {
    const DocumentKind forced = KindNamed(options_.format);
    const std::vector<Document> documents = importing::DocumentsOf(text, forced, reading_);
    if (reading_.ok() && documents.empty()) {
      reading_.AddAt(0, 0, "the file is empty", "");
    }
    if (!reading_.ok()) return tl::unexpected(reading_.TakeMistakes());
    for (const Document& document : documents) {
      const std::string name = NameOf(document.kind);
      auto& formats = imported_.formats;
      if (std::find(formats.begin(), formats.end(), name) == formats.end()) formats.push_back(name);
    }
    ReadConfigs(documents);
    ReadOthers(documents);
    if (reading_.ok() && reading_.draft().workloads.empty()) {
      reading_.AddAt(0, 0, "nothing in the file asks for a part of a GPU", "");
    }
    if (!reading_.ok()) return tl::unexpected(reading_.TakeMistakes());
    imported_.notes = reading_.TakeNotes();
    imported_.spec =
        SpecText(reading_.draft(),
                 fmt::format("From {} ({}{}).", file_, fmt::join(imported_.formats, ", "),
                             imported_.config.empty() ? "" : ", configuration " + imported_.config),
                 options_.hold);
    return std::move(imported_);
  }

 private:
  // A node has one of them at a time, so one is taken; all are checked.
  void ReadConfigs(const std::vector<Document>& documents) {
    const std::vector<Choice> choices = ChoicesOf(documents);
    const std::optional<size_t> chosen = Choose(choices, options_.config);
    std::vector<std::string> names;
    for (const Choice& choice : choices) names.push_back(choice.name());
    if (!chosen && !options_.config.empty()) {
      const std::string meant = DidYouMean(options_.config, names);
      reading_.AddAt(0, 0, fmt::format("there is no configuration '{}'", options_.config),
                     !meant.empty()  ? meant
                     : names.empty() ? "the file has only one; leave --config out"
                                     : fmt::format("one of {}", fmt::join(names, ", ")));
      return;
    }
    if (choices.size() > 1) imported_.config = choices[*chosen].name();
    for (size_t i = 0; i < choices.size(); ++i) {
      if (i == *chosen) continue;
      imported_.others.push_back(choices[i].name());
    }
    if (!imported_.others.empty()) {
      reading_.NoteAt(0, "configuration " + fmt::format("{}", fmt::join(imported_.others, ", ")),
                      "a spec is one layout; --config NAME takes another");
    }
    for (size_t i = 0; i < documents.size(); ++i) {
      const bool mine = chosen && choices[*chosen].document == i;
      Reading aside(options_, reading_.catalog());
      Reading& into = mine ? reading_ : aside;
      if (documents[i].kind == DocumentKind::kMigParted) {
        importing::ReadMigParted(documents[i].root, mine ? choices[*chosen].config : "", into);
      } else if (documents[i].kind == DocumentKind::kDevicePlugin) {
        importing::ReadDevicePlugin(documents[i].root, into);
      }
      // Mistakes count wherever they are; notes only of what was taken.
      for (const ImportMistake& mistake : aside.TakeMistakes()) {
        reading_.AddAt(mistake.line, mistake.column, mistake.message, mistake.hint);
      }
    }
  }

  void ReadOthers(const std::vector<Document>& documents) {
    std::vector<const YamlNode*> objects;
    for (const Document& document : documents) {
      if (document.kind == DocumentKind::kKubernetes) objects.push_back(&document.root);
      if (document.kind == DocumentKind::kMps) importing::ReadMps(document.root, reading_);
    }
    if (!objects.empty()) importing::ReadKubernetes(objects, reading_);
  }

  const std::string file_;
  const ImportOptions& options_;
  Reading reading_;
  Imported imported_;
};

}  // namespace

const std::vector<std::string>& ImportFormats() {
  static const std::vector<std::string> kFormats = {"device-plugin", "mig-parted", "kubernetes",
                                                    "mps"};
  return kFormats;
}

tl::expected<Imported, std::vector<ImportMistake>> Import(std::string_view text,
                                                          const std::string& file,
                                                          const ImportOptions& options,
                                                          const Catalog& catalog) {
  return Importer(file, options, catalog).Run(text);
}

}  // namespace tranche
