#pragma once

#include <string>

#include "base/json_fwd.h"
#include "stage/request/shape.h"

namespace tranche {

// A shape as JSON Schema (draft 2020-12), for editors. Rules between keys cannot be said in it, so
// it accepts every spec that the parser accepts, and some more.
Json SpecJsonSchema(const Shape& spec);

// The same as the key tables of docs/spec.md, in Markdown: one table per object, the outermost
// first.
std::string SpecKeyTables(const Shape& spec);

}  // namespace tranche
