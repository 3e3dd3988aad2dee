#pragma once

#include <string>

#include "base/result.h"

namespace tranche {

// Ours, where they are installed: beside the programs.
struct LimiterFiles {
  std::string folder;        // of the limiter's libcuda.so.1 and libnvidia-ml.so.1
  std::string hold_context;  // the program that MeasureContext runs
  std::string table_broker;  // the program of BrokeredTables
};

// kUnsupported when they are not there.
Result<LimiterFiles> FindLimiterFiles();

// The driver's libcuda that a program would load, ours aside: an absolute path. kUnavailable when
// there is none. `folders`: as in LD_LIBRARY_PATH.
Result<std::string> FindLibcuda(const std::string& folders);

}  // namespace tranche
