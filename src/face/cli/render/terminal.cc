#include "face/cli/render/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>

namespace tranche {
namespace {

const char* Code(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kBold:
      return "\x1b[1m";
    case Style::kDim:
      return "\x1b[2m";
    case Style::kRed:
      return "\x1b[31m";
    case Style::kGreen:
      return "\x1b[32m";
    case Style::kYellow:
      return "\x1b[33m";
    case Style::kCyan:
      return "\x1b[36m";
  }
  return "";
}

bool IsSet(const Environment& environment, const char* name) {
  const auto value = environment(name);
  return value && !value->empty();
}

// CLICOLOR_FORCE=0 and FORCE_COLOR=0 say no.
bool IsForced(const Environment& environment, const char* name) {
  return IsSet(environment, name) && *environment(name) != "0";
}

bool WantColors(bool tty, ColorChoice choice, const Environment& environment) {
  if (choice != ColorChoice::kAuto) return choice == ColorChoice::kAlways;
  if (IsSet(environment, "NO_COLOR")) return false;
  if (IsForced(environment, "CLICOLOR_FORCE") || IsForced(environment, "FORCE_COLOR")) return true;
  if (environment("TERM") == "dumb") return false;
  return tty;
}

// The length of the UTF-8 sequence that starts at `i`, or 0 when it is none.
size_t SequenceLength(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned char lead = byte(i);
  size_t length = 0;
  if (lead < 0x80)
    length = 1;
  else if (lead >= 0xC2 && lead <= 0xDF)
    length = 2;
  else if (lead >= 0xE0 && lead <= 0xEF)
    length = 3;
  else if (lead >= 0xF0 && lead <= 0xF4)
    length = 4;
  if (length == 0 || i + length > text.size()) return 0;
  for (size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF.
  if (lead == 0xE0 && byte(i + 1) < 0xA0) return 0;
  if (lead == 0xED && byte(i + 1) > 0x9F) return 0;
  if (lead == 0xF0 && byte(i + 1) < 0x90) return 0;
  if (lead == 0xF4 && byte(i + 1) > 0x8F) return 0;
  return length;
}

}  // namespace

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
}

Terminal::Terminal(bool tty, int tty_columns, ColorChoice color, const Environment& environment)
    : tty_(tty),
      can_redraw_(tty && environment("TERM") != "dumb"),
      colors_(WantColors(tty, color, environment)),
      width_(tty ? tty_columns : 0) {
  if (const auto columns = environment("COLUMNS")) {
    char* end = nullptr;
    const long value = std::strtol(columns->c_str(), &end, 10);
    if (!columns->empty() && *end == '\0' && value > 0 && value < 10000) {
      width_ = static_cast<int>(value);
    }
  }
}

Terminal Terminal::Of(int descriptor, ColorChoice color, const Environment& environment) {
  const bool tty = isatty(descriptor) == 1;
  winsize size{};
  const bool known = tty && ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return Terminal(tty, known ? size.ws_col : 80, color, environment);
}

std::string Terminal::Paint(Style style, std::string_view text) const {
  if (!colors_ || style == Style::kPlain || text.empty()) return std::string(text);
  return std::string(Code(style)).append(text).append("\x1b[0m");
}

std::string Printable(std::string_view text, bool keep_newlines) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const size_t length = SequenceLength(text, i);
    const auto lead = static_cast<unsigned char>(text[i]);
    const bool newline = text[i] == '\n' && keep_newlines;
    const bool control =
        lead < 0x20 || lead == 0x7F ||
        // C1, U+0080..U+009F: "\x9b" starts an escape sequence too.
        (length == 2 && lead == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0);
    if (length == 0 || (control && !newline))
      out += text[i] == '\t' ? ' ' : '?';
    else
      out.append(text.substr(i, length));
    i += length == 0 ? 1 : length;
  }
  return out;
}

int DisplayWidth(std::string_view text) {
  int width = 0;
  for (const char c : text) width += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return width;
}

std::string Elide(std::string_view text, int width) {
  if (width <= 0 || DisplayWidth(text) <= width) return std::string(text);
  const int keep = width > 3 ? width - 3 : width;
  size_t bytes = 0;
  for (int columns = 0; bytes < text.size(); ++bytes) {
    const bool starts = (static_cast<unsigned char>(text[bytes]) & 0xC0) != 0x80;
    if (starts && columns++ == keep) break;
  }
  return std::string(text.substr(0, bytes)).append(width > 3 ? "..." : "");
}

}  // namespace tranche
