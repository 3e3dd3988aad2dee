#pragma once

#include <map>
#include <optional>
#include <string>

#include "decide/advice/advice.h"

namespace tranche::advice {

// What the questions look at: the ask, and what follows from it and the catalog alone.
struct Facts {
  const AdviceAsk* ask = nullptr;
  const AdviceRules* rules = nullptr;

  std::optional<Bytes> whole;  // what one workload can have of the GPU; absent when not known
  std::optional<Bytes> alone;  // what it needs of one whole GPU
  std::optional<Bytes> need;   // what it needs of each of `gpus`
  int gpus = 1;
  bool split = false;  // it does not fit one GPU, and fits `gpus` of them

  // The slice that holds it, and the largest that leaves room for another.
  const MigProfile* slice = nullptr;
  const MigProfile* largest_slice = nullptr;
  bool slice_has_memory = false;  // some slice holds its memory, whatever its compute

  std::map<std::string, std::string> words;  // of kAdviceWords
};

Facts FactsOf(const AdviceAsk& ask, const AdviceRules& rules);

// The part of a GPU's memory that programs can have: CUDA keeps up to 1.6 % (24 GB boards) of the
// total that NVML states.
inline constexpr double kUsableMemory = 0.984;

// The answer to one question; "" when nobody here can answer it.
std::string AnswerTo(const std::string& question, const Facts& facts);

// The memory that one workload needs in a slice of that size.
std::optional<Bytes> NeedIn(const AdviceAsk& ask, Bytes slice);

// `text` with its {words} filled in.
std::string Fill(const std::string& text, const std::map<std::string, std::string>& words);

}  // namespace tranche::advice
