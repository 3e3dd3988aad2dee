#include "sim/mps/log.h"

#include <unistd.h>

#include <cstdio>
#include <ctime>

namespace tranche::sim::mps {

void Log::Say(const std::string& text) {
  timespec now = {};
  clock_gettime(CLOCK_REALTIME, &now);
  tm broken = {};
  localtime_r(&now.tv_sec, &broken);
  char time[64];
  std::strftime(time, sizeof(time), "%Y-%m-%d %H:%M:%S", &broken);
  char row[128];
  std::snprintf(row, sizeof(row), "[%s.%03ld %s %5d] ", time, now.tv_nsec / 1000000, who_.c_str(),
                static_cast<int>(getpid()));
  file_ << row << text << std::endl;
}

}  // namespace tranche::sim::mps
