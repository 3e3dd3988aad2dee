#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "catalog/catalog.h"
#include "model/spec.h"

namespace tranche {

// One mistake in a file, where it is and what to do about it.
struct Diagnostic {
  std::string file;
  int line = 0;  // 0: the file as a whole
  int column = 0;
  std::string message;
  std::string hint;
};

// "spec.yaml:12:5: unknown key 'memroy'\n    did you mean 'memory'?"
std::string FormatDiagnostic(const Diagnostic& diagnostic);

// Reads a spec with its defaults filled in, or every mistake in it at once, by place. `file` is the
// name to show; `directory` is where relative paths start. Touches no file.
tl::expected<Spec, std::vector<Diagnostic>> ParseSpec(std::string_view text,
                                                      const std::string& file,
                                                      const std::string& directory,
                                                      const Catalog& catalog);

}  // namespace tranche
