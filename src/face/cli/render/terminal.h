#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace tranche {

enum class Style { kPlain, kBold, kDim, kRed, kGreen, kYellow, kCyan };
enum class ColorChoice { kAuto, kAlways, kNever };

// The value of an environment variable, or nullopt. A parameter, so that tests own the environment.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment ProcessEnvironment();

// What the stream that we print to can show. The one place that knows about terminals, colours and
// widths.
//   colours: --color, then NO_COLOR, then CLICOLOR_FORCE and FORCE_COLOR, then TERM=dumb, then: is
//   it a tty width:   COLUMNS, then the tty's own; 0 = without end, so that a pipe gets everything
class Terminal {
 public:
  Terminal(bool tty, int tty_columns, ColorChoice color, const Environment& environment);
  static Terminal Of(int descriptor, ColorChoice color, const Environment& environment);

  bool tty() const { return tty_; }
  // May be redrawn in place: a tty that is not dumb.
  bool can_redraw() const { return can_redraw_; }
  int width() const { return width_; }
  std::string Paint(Style style, std::string_view text) const;

 private:
  bool tty_ = false;
  bool can_redraw_ = false;
  bool colors_ = false;
  int width_ = 0;
};

// `text` without anything that could steer a terminal: control characters and bytes that are not
// UTF-8 become "?". Commands and names of processes are chosen by others.
std::string Printable(std::string_view text, bool keep_newlines = false);

// Columns that printable UTF-8 takes, one per code point.
int DisplayWidth(std::string_view text);

// At most `width` columns, with "..." where something was cut.
std::string Elide(std::string_view text, int width);

}  // namespace tranche
