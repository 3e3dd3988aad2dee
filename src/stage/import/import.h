#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "catalog/catalog.h"
#include "model/machine.h"

namespace tranche {

// Reads what other tools keep about shared GPUs, and says it as a Tranche spec.

// One mistake in a file of another tool, where it is and what to do about it.
struct ImportMistake {
  int line = 0;  // 0: the file as a whole
  int column = 0;
  std::string message;
  std::string hint;
  bool operator==(const ImportMistake&) const = default;
};

// Something that the file says and the spec does not, or says otherwise.
struct ImportNote {
  int line = 0;      // 0: the file as a whole
  std::string what;  // "flags.migStrategy"
  std::string why;
  bool operator==(const ImportNote&) const = default;
};

struct ImportOptions {
  std::string format;  // of ImportFormats(); "" = by what is in the file
  std::string config;  // which of several configurations; "" = the default of the file
  // The GPUs that the file is meant for; nullptr when nobody said. Decides how many GPUs `all` is,
  // which entries apply, and how large a part of a GPU is.
  const Machine* machine = nullptr;
  // Let each slice be held by a program that does nothing, so that the spec can be applied.
  bool hold = false;
};

struct Imported {
  std::vector<std::string> formats;  // what the file was found to hold, each once
  std::string config;                // which configuration was taken; "" when there is only one
  std::string spec;                  // YAML
  std::vector<ImportNote> notes;     // by line
  std::vector<std::string> others;   // configurations of the file that were not taken
};

// "device-plugin", "mig-parted", "kubernetes", "mps".
const std::vector<std::string>& ImportFormats();

// All mistakes of the file at once, by place. `file` is the name to show in the spec's first line.
// Pure.
tl::expected<Imported, std::vector<ImportMistake>> Import(std::string_view text,
                                                          const std::string& file,
                                                          const ImportOptions& options,
                                                          const Catalog& catalog);

}  // namespace tranche
