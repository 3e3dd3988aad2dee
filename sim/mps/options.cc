#include "sim/mps/options.h"

namespace tranche::sim::mps {
namespace {

constexpr int kFirstWithPartitions = 13010, kFirstWithNames = 13040;

tl::unexpected<Error> Wrong(const std::string& what) { return Fail(ErrorCode::kInvalid, what); }

class Parser {
 public:
  Parser(const Words& arguments, int cuda_version)
      : arguments_(arguments), cuda_version_(cuda_version) {}

  Status Parse(Options* options, std::string* protocol) {
    for (; at_ < arguments_.size(); ++at_) {
      const std::string one = arguments_[at_];
      if (one.empty() || one[0] != '-') {
        if (!Has(kFirstWithNames)) return Unknown(one);
        options->act = Options::Act::kCommand;
        options->command.assign(arguments_.begin() + static_cast<long>(at_), arguments_.end());
        return at_ == 0 || !told_to_act_ ? Status() : Wrong("A daemon takes no command: " + one);
      }
      const Status taken = Take(one, options, protocol);
      if (!taken) return taken;
    }
    return {};
  }

 private:
  bool Has(int version) const { return cuda_version_ >= version; }
  static Status Unknown(const std::string& option) {
    return Wrong("Unknown option '" + option + "'");
  }
  // `shortened` or, where the program is that new, `name`.
  bool Is(const std::string& option, const char* shortened, const char* name) const {
    return option == shortened || (Has(kFirstWithNames) && option == name);
  }
  void Act(Options* options, Options::Act act) {
    options->act = act;
    told_to_act_ = true;
  }

  Status Take(const std::string& option, Options* options, std::string* protocol) {
    using Do = Options::Act;
    const bool named = Has(kFirstWithNames);
    if (Is(option, "-h", "--help")) {
      Act(options, Do::kHelp);
    } else if (Is(option, "-v", "--version")) {
      Act(options, Do::kVersion);
    } else if (Is(option, "-d", "--daemon")) {
      Act(options, Do::kBackground);
    } else if (Is(option, "-f", "--foreground")) {
      Act(options, Do::kForeground);
    } else if (named && Is(option, "-q", "--quit")) {
      Act(options, Do::kQuit);
    } else if (option == "-multiuser-server" || option == "--multiuser-server" ||
               (named && Is(option, "-m", "--multiuser"))) {
      options->any_user = true;
    } else if (Has(kFirstWithPartitions) && (option == "-S" || option == "--static-partitioning")) {
      options->static_partitions = true;
    } else if (named && IsWithValue(option, "-p", "--protocol")) {
      return Value(option, "--protocol", protocol);
    } else if (named && IsWithValue(option, "-a", "--apply")) {
      return Value(option, "--apply", &options->configuration);
    } else {
      return Unknown(option);
    }
    return {};
  }

  // "-p 3", "-p3", "--protocol 3" and "--protocol=3".
  static bool IsWithValue(const std::string& option, const std::string& shortened,
                          const std::string& name) {
    return option.rfind(shortened, 0) == 0 || option == name || option.rfind(name + "=", 0) == 0;
  }
  Status Value(const std::string& option, const std::string& name, std::string* into) {
    const bool is_long = option.rfind("--", 0) == 0;
    if (is_long && option != name) {
      *into = option.substr(name.size() + 1);
    } else if (!is_long && option.size() > 2) {
      *into = option.substr(2);
    } else if (at_ + 1 < arguments_.size()) {
      *into = arguments_[++at_];
    }
    return into->empty() ? Wrong("Option '" + option + "' needs a value") : Status();
  }

  const Words& arguments_;
  const int cuda_version_;
  size_t at_ = 0;
  bool told_to_act_ = false;
};

}  // namespace

Result<Options> ReadOptions(const Words& arguments, int cuda_version,
                            const std::optional<std::string>& protocol_variable) {
  Options options;
  std::string protocol;
  const Status parsed = Parser(arguments, cuda_version).Parse(&options, &protocol);
  if (!parsed) return tl::unexpected(parsed.error());
  const bool has_protocols = cuda_version >= kFirstWithNames;
  if (has_protocols && protocol_variable && !protocol_variable->empty())
    protocol = *protocol_variable;
  if (!protocol.empty() && protocol != "2" && protocol != "3")
    return Wrong("There is no protocol '" + protocol + "': 2 or 3");
  options.protocol = protocol == "3" ? 3 : 2;
  if (options.protocol == 3 && options.static_partitions)
    return Wrong("Static partitioning mode is of protocol 2; protocol 3 has `sm-partition`");
  const bool starts =
      options.act == Options::Act::kBackground || options.act == Options::Act::kForeground;
  if (!options.configuration.empty() && !(starts && options.protocol == 3))
    return Wrong("A configuration is applied when a daemon of protocol 3 starts");
  return options;
}

std::string UsageOfOptions(int cuda_version) {
  if (cuda_version < kFirstWithNames) {
    return std::string("usage: nvidia-cuda-mps-control [-d|-f] ") +
           (cuda_version >= kFirstWithPartitions ? "[-S|--static-partitioning] " : "") +
           "[-multiuser-server]\n"
           "       nvidia-cuda-mps-control [-v] [-h]\n"
           "Without an option commands are read from standard input.\n";
  }
  return "usage: nvidia-cuda-mps-control [OPTIONS]\n"
         "       nvidia-cuda-mps-control MODULE VERB [ARGUMENTS] (protocol 3)\n"
         "  -h, --help                 Print this message\n"
         "  -d, --daemon               Start the daemon in the background\n"
         "  -f, --foreground           Start the daemon in the foreground\n"
         "  -m, --multiuser            Enable multiuser mode\n"
         "  -a, --apply FILE           Apply a configuration from a TOML file (protocol 3)\n"
         "  -p, --protocol 2|3         Protocol 2 (default) or 3\n"
         "  -q, --quit                 Stop the daemon and all its servers (protocol 3)\n"
         "  -S, --static-partitioning  Static partitioning mode (protocol 2)\n"
         "  -v, --version              Print the version\n"
         "Without an option commands are read from standard input (protocol 2).\n";
}

}  // namespace tranche::sim::mps
