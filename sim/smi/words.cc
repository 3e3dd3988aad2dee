#include <cstdio>

#include "sim/smi/verbs.h"

namespace tranche::sim::smi {

std::string Words::Option() {
  attached_.reset();
  if (empty()) return "";
  std::string word = words_[at_++];
  const size_t equals = word.find('=');
  if (word.rfind("--", 0) == 0 && equals != std::string::npos) {
    attached_ = word.substr(equals + 1);
    word.resize(equals);
  }
  return word;
}

std::optional<std::string> Words::Value() {
  if (attached_) return attached_;
  if (empty()) return std::nullopt;
  return words_[at_++];
}

std::optional<std::string> Words::ValueIfAny() {
  if (attached_) return attached_;
  if (empty() || words_[at_].rfind('-', 0) == 0) return std::nullopt;
  return words_[at_++];
}

int Refuse(const std::string& word) {
  std::printf(
      "Invalid combination of input arguments. Please run 'nvidia-smi -h' for help.\n"
      "(not understood: %s)\n",
      word.c_str());
  return ExitCode(NVML_ERROR_INVALID_ARGUMENT);
}

int NoDevices() {
  std::printf("No devices were found\n");
  return ExitCode(NVML_ERROR_NOT_FOUND);
}

}  // namespace tranche::sim::smi
