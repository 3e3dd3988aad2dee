#pragma once

#include "stage/request/values.h"

namespace tranche {

// What the readers of values.h are made of.

Shape TextShape(std::string what, std::string example, std::string pattern);
// A text of the user's choosing, which may look like a number by mistake.
Shape FreeText(std::string what, std::string example, std::string pattern);

// "for example memory: 10GiB"
std::string Example(const std::string& key, const Shape& shape);

// The text of a scalar that is text, printable and not empty; otherwise the mistake is told.
std::optional<std::string> ReadText(ReadContext& context, const std::string& key,
                                    const YamlNode& node, const Shape& shape);

void AddParseError(ReadContext& context, const std::string& key, const YamlNode& node,
                   const Error& error);

}  // namespace tranche
