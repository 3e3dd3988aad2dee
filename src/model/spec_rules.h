#pragma once

#include <string_view>

namespace tranche {

// What the text and the numbers of a spec may be, whichever way it comes in: the parser of spec
// files and the codec (plan files, the API) hold to the same rules.

inline constexpr int kMaxReplicas = 10000;
inline constexpr int kMaxGpusPerWorkload = 1024;
inline constexpr int kMaxFleetCount = 100000;
inline constexpr int kMaxOversubscription = 1000;
inline constexpr int kMaxTokens = 10000000;  // context, prompt and output lengths
inline constexpr int kMaxConcurrency = 100000;
inline constexpr double kMaxPrice = 1e6;  // per hour
inline constexpr double kMaxWeight = 1e6;
inline constexpr double kMinParameters = 1e6;  // fewer, and a unit was forgotten
inline constexpr double kMaxParameters = 1e14;
inline constexpr double kMaxRequestsPerSecond = 1e9;

// A name of a workload, team or tier: a DNS label (RFC 1123), since it becomes part of host names,
// file names and URLs. At most 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit.
bool IsLabel(std::string_view text);
// "/", "/phi", "/team/phi": segments of letters, digits and ._~-, none of them "." or "..".
bool IsRoute(std::string_view text);
bool IsEnvName(std::string_view text);
// "3g.40gb", "1g.10gb+me", "2g.24gb+gfx". Whether a GPU has such a one is another question.
bool IsMigProfile(std::string_view text);
// "UTC", "Europe/Berlin": parts of letters, digits and _+-, between slashes.
bool IsTimeZone(std::string_view text);
// "GPU-" and at least four of hexadecimal digits and '-': a UUID or its beginning.
bool IsGpuUuid(std::string_view text);
// Three capital letters.
bool IsCurrency(std::string_view text);

}  // namespace tranche
