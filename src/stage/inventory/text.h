#pragma once

#include <string>
#include <string_view>

namespace tranche {

// Text from a stranger (an argv, a user name) as something that may be printed anywhere: control
// characters, broken UTF-8 and characters that reorder a line become escapes such as \n, \x1b and
// \u202e; a backslash stays, because nothing reads this back.
std::string Printable(std::string_view text);

// At most `limit` bytes of it, cut at a character, with "..." where something is missing.
std::string Shortened(std::string text, size_t limit);

}  // namespace tranche
