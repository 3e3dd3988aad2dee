#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace tranche {

// One flag, option or positional argument, and where its value goes. The target must outlive
// parsing.
struct Parameter {
  std::string names;  // "-f,--file"; a positional has a name without dashes: "FILE"
  std::string value;  // what to call the value in help: "FILE"; "" for a flag
  std::string help;
  bool required = false;
  std::variant<bool*, std::string*, std::optional<int>*> target;

  bool positional() const { return names.empty() || names[0] != '-'; }
};

// What a command line may hold, as data: parsed by ParseArguments, printed by help, searched for
// the nearest name after a typo.
class Arguments {
 public:
  Arguments& Flag(std::string names, bool& target, std::string help);
  Arguments& Option(std::string names, std::string value, std::string& target, std::string help);
  Arguments& Option(std::string names, std::string value, std::optional<int>& target,
                    std::string help);
  Arguments& Positional(std::string name, std::string& target, std::string help,
                        bool required = false);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  // "--file", "-f", ...: everything that may be typed.
  std::vector<std::string> Names() const;

 private:
  std::vector<Parameter> parameters_;
};

// Fills the targets, or says what is wrong with a suggestion. An option may be given once.
Status ParseArguments(const std::vector<std::string>& words,
                      const std::vector<const Arguments*>& accepted);

// The first word that is neither a flag nor the value of one of `globals`: the verb. words.size()
// if none.
size_t FindVerb(const std::vector<std::string>& words, const Arguments& globals);

}  // namespace tranche
