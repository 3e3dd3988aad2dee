#include <cstdio>
#include <cstdlib>

#include "base/json.h"
#include "catalog/catalog.h"
#include "model/spec.h"
#include "stage/request/parser.h"

// Whatever bytes a spec file holds: the parser answers with a spec that survives its codec, or with
// mistakes that have a place.

namespace {

void Require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(const uint8_t* data,
                                                                             size_t size) {
  static const auto catalog = tranche::Catalog::Load();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto spec = tranche::ParseSpec(text, "f.yaml", "/specs", **catalog);
  if (spec) {
    const auto json = tranche::ParseJson(tranche::PrintJson(ToJson(*spec)));
    Require(json.has_value(), "a spec prints as JSON");
    const auto back = tranche::SpecFromJson(*json);
    Require(back.has_value() && *back == *spec, "a spec comes back from JSON");
    return 0;
  }
  Require(!spec.error().empty(), "a refusal says why");
  for (const tranche::Diagnostic& diagnostic : spec.error()) {
    Require(!diagnostic.message.empty(), "a mistake has a message");
    Require((diagnostic.line > 0) == (diagnostic.column > 0), "a mistake has a place");
  }
  return 0;
}
