#include "edge/driver/nvml/reading.h"

#include <cstring>

namespace tranche {

std::string CleanText(const char* buffer, size_t size) {
  std::string text(buffer, strnlen(buffer, size));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

}  // namespace tranche
