#include "stage/request/mistakes.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "stage/request/shape.h"

namespace tranche {
namespace {

constexpr size_t kMostShown = 100;

}  // namespace

std::string FormatDiagnostic(const Diagnostic& diagnostic) {
  std::string text = diagnostic.file;
  if (diagnostic.line > 0) text += fmt::format(":{}:{}", diagnostic.line, diagnostic.column);
  text += ": " + diagnostic.message;
  if (!diagnostic.hint.empty()) text += "\n    " + diagnostic.hint;
  return text;
}

void Mistakes::AddAt(int line, int column, const std::string& message, const std::string& hint) {
  // Messages repeat what the file says, and a file must not command the terminal that shows them.
  all_.push_back({file_, line, column, Printable(message), Printable(hint)});
}

std::vector<Diagnostic> Mistakes::Take() {
  const auto place = [](const Diagnostic& d) { return std::tie(d.line, d.column); };
  std::stable_sort(all_.begin(), all_.end(),
                   [&](const Diagnostic& a, const Diagnostic& b) { return place(a) < place(b); });
  // Repeats of one mistake need not be neighbours: two mistakes may share a place.
  std::vector<Diagnostic> shown;
  size_t left_out = 0;
  for (Diagnostic& diagnostic : all_) {
    bool repeated = false;
    for (auto other = shown.rbegin(); other != shown.rend() && place(*other) == place(diagnostic);
         ++other) {
      repeated |= other->message == diagnostic.message;
    }
    if (repeated) continue;
    if (shown.size() == kMostShown) {
      ++left_out;
    } else {
      shown.push_back(std::move(diagnostic));
    }
  }
  if (left_out > 0) {
    shown.push_back({file_, shown.back().line, shown.back().column,
                     fmt::format("and {} more mistakes from here on", left_out), ""});
  }
  all_.clear();
  return shown;
}

}  // namespace tranche
