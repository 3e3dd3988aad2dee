#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/units.h"

namespace tranche {

struct LogText {
  std::string text;
  uint64_t next = 0;  // byte after the last one read; where to go on
};

// Reads a log. Without `from`: the last `lines` lines, oldest first. With it: from that byte on, at
// most `lines` lines (0 = no limit). Never more than `max`, cut at a line's end where there is one.
// A `from` past the end means that the log was rotated: reading starts at byte 0 again. kNotFound
// when there is no log.
Result<LogText> ReadLog(const std::string& path, int lines, std::optional<uint64_t> from,
                        Bytes max = MiB(1));

// When the log has outgrown `limit`: copies it to PATH.1 (moving PATH.1 to PATH.2 and so on, `keep`
// of them) and truncates it, so that its writers, who append, need not be told. What is written
// between the copy and the truncation is lost. Returns whether it did. No log is nothing to do.
Result<bool> RotateLog(const std::string& path, Bytes limit, int keep);

}  // namespace tranche
