#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/yaml.h"
#include "stage/import/draft.h"
#include "stage/import/import.h"

namespace tranche::importing {

// What every reader of a format works with: the mistakes and notes of the file so far, what was
// asked, and the spec as it grows.
class Reading {
 public:
  Reading(const ImportOptions& options, const Catalog& catalog)
      : options_(options), catalog_(catalog) {}

  const ImportOptions& options() const { return options_; }
  const Catalog& catalog() const { return catalog_; }
  Draft& draft() { return draft_; }

  void Add(const YamlNode& at, std::string message, std::string hint = {});
  void AddAt(int line, int column, std::string message, std::string hint);
  void Note(const YamlNode& at, std::string what, std::string why);
  void NoteAt(int line, std::string what, std::string why);

  bool ok() const { return mistakes_.empty(); }
  // By place, at most a hundred.
  std::vector<ImportMistake> TakeMistakes();
  std::vector<ImportNote> TakeNotes();

  // Each notes a mistake and returns nothing when the value is of another kind. `path` is what the
  // value is called: "sharing.timeSlicing.replicas".
  const YamlNode* MapAt(const YamlNode& parent, const std::string& key, const std::string& path);
  const YamlNode* ListAt(const YamlNode& parent, const std::string& key, const std::string& path);
  std::optional<int64_t> Integer(const YamlNode& node, const std::string& path);
  std::optional<bool> Bool(const YamlNode& node, const std::string& path);
  std::optional<std::string> Text(const YamlNode& node, const std::string& path);
  // One of these words.
  std::optional<std::string> Word(const YamlNode& node, const std::string& path,
                                  const std::vector<std::string>& words);
  // A mistake for each member that is not among `known`; with `note`, only a note.
  void CheckKeys(const YamlNode& map, const std::string& path,
                 const std::vector<std::string>& known, bool note);

 private:
  const ImportOptions& options_;
  const Catalog& catalog_;
  Draft draft_;
  std::vector<ImportMistake> mistakes_;
  std::vector<ImportNote> notes_;
};

// "a list", "a map", "nothing", "'text'".
std::string Describe(const YamlNode& node);
// In quotes, shortened, without anything that would command a terminal.
std::string Quoted(std::string_view text);
// A DNS label made of any text: "nvidia.com/mig-1g.10gb" -> "nvidia-com-mig-1g-10gb"; "" when
// nothing is left.
std::string LabelOf(std::string_view text);
// A whole number as Kubernetes writes quantities ("2", "2k", "1Gi"); nullopt for anything else.
std::optional<int64_t> Quantity(std::string_view text);

}  // namespace tranche::importing
