#include <functional>
#include <memory>
#include <set>

#include "stage/import/documents.h"
#include "stage/import/targets.h"

namespace tranche::importing {
namespace {

// What may stand below a key.
struct Schema {
  enum class Kind { kValue, kMap, kList, kWords };  // kList of maps, kWords of plain values
  Kind kind = Kind::kValue;
  std::vector<std::pair<std::string, const Schema*>> keys = {};
  // Keys with any name, if this says so of the key and what is written behind it.
  std::function<bool(std::string_view key, std::string_view value)> any = nullptr;
  const Schema* below_any = nullptr;

  const Schema* Find(std::string_view key, std::string_view value) const {
    for (const auto& [name, schema] : keys) {
      // A key with nothing behind it opens something; a value needs something behind it.
      if (name == key) return schema;
    }
    return any && any(key, value) ? below_any : nullptr;
  }
};

Schema Map(std::vector<std::pair<std::string, const Schema*>> keys) {
  return {Schema::Kind::kMap, std::move(keys)};
}

const Schema* Value() {
  static const Schema kValue;
  return &kValue;
}

const Schema* Words() {
  static const Schema kWords{Schema::Kind::kWords};
  return &kWords;
}

const Schema* Strings() {
  static const Schema kStrings{
      Schema::Kind::kMap, {}, [](auto, std::string_view value) { return !value.empty(); }, Value()};
  return &kStrings;
}

const Schema* Sharing() {
  static const Schema kResources{
      Schema::Kind::kList,
      {{"name", Value()}, {"replicas", Value()}, {"rename", Value()}, {"devices", Value()}}};
  static const Schema kShared = Map({{"renameByDefault", Value()},
                                     {"failRequestsGreaterThanOne", Value()},
                                     {"replicas", Value()},
                                     {"resources", &kResources}});
  static const Schema kSharing = Map({{"timeSlicing", &kShared}, {"mps", &kShared}});
  return &kSharing;
}

const Schema* MigConfigs() {
  static const Schema kDevices{
      Schema::Kind::kMap,
      {},
      [](std::string_view key, auto) { return ParseProfileName(key).has_value(); },
      Value()};
  static const Schema kEntries{Schema::Kind::kList,
                               {{"device-filter", Value()},
                                {"devices", Value()},
                                {"mig-enabled", Value()},
                                {"mig-devices", &kDevices}}};
  static const Schema kConfigs{Schema::Kind::kMap,
                               {},
                               [](auto, std::string_view value) { return value.empty(); },
                               &kEntries};
  return &kConfigs;
}

const Schema* Flags() {
  static const Schema kPlugin{
      Schema::Kind::kMap, {}, [](auto, std::string_view value) { return !value.empty(); }, Value()};
  static const Schema kFlags{Schema::Kind::kMap,
                             {{"plugin", &kPlugin}, {"gfd", &kPlugin}},
                             [](std::string_view key, std::string_view value) {
                               return !value.empty() && key != "version";
                             },
                             Value()};
  return &kFlags;
}

const Schema* Config() {
  static const Schema kConfig = Map({{"version", Value()},
                                     {"flags", Flags()},
                                     {"sharing", Sharing()},
                                     {"mig-configs", MigConfigs()}});
  return &kConfig;
}

const Schema* PodSpec() {
  static const Schema kQuantities{Schema::Kind::kMap,
                                  {{"cpu", Value()}, {"memory", Value()}},
                                  [](std::string_view key, std::string_view value) {
                                    return key.find('/') != std::string_view::npos &&
                                           !value.empty();
                                  },
                                  Value()};
  static const Schema kResources = Map({{"limits", &kQuantities}, {"requests", &kQuantities}});
  static const Schema kEnv{Schema::Kind::kList, {{"name", Value()}, {"value", Value()}}};
  static const Schema kPorts{
      Schema::Kind::kList, {{"containerPort", Value()}, {"name", Value()}, {"protocol", Value()}}};
  static const Schema kContainers{Schema::Kind::kList,
                                  {{"name", Value()},
                                   {"image", Value()},
                                   {"command", Words()},
                                   {"args", Words()},
                                   {"env", &kEnv},
                                   {"ports", &kPorts},
                                   {"resources", &kResources}}};
  static const Schema kSpec = Map({{"containers", &kContainers},
                                   {"restartPolicy", Value()},
                                   {"runtimeClassName", Value()},
                                   {"schedulerName", Value()},
                                   {"nodeSelector", Strings()}});
  return &kSpec;
}

const Schema* Object() {
  static const Schema kMetadata = Map({{"name", Value()},
                                       {"namespace", Value()},
                                       {"labels", Strings()},
                                       {"annotations", Strings()}});
  static const Schema kData{Schema::Kind::kMap,
                            {},
                            [](auto, std::string_view value) {
                              return !value.empty() && (value[0] == '|' || value[0] == '>');
                            },
                            Config()};
  static const Schema kObject = Map({{"apiVersion", Value()},
                                     {"kind", Value()},
                                     {"metadata", &kMetadata},
                                     {"data", &kData},
                                     {"spec", PodSpec()},
                                     {"version", Value()},
                                     {"flags", Flags()},
                                     {"sharing", Sharing()},
                                     {"mig-configs", MigConfigs()}});
  return &kObject;
}

struct Line {
  std::string_view text;  // without the end
  bool item = false;
  bool plain = false;  // an item that is a value, or something that is no key
  std::string key;
  std::string_view value;  // without a comment
};

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r')) text.remove_suffix(1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

Line Split(std::string_view text) {
  Line line;
  line.text = text;
  if (text.substr(0, 2) == "- ") {
    line.item = true;
    text = Trimmed(text.substr(2));
  }
  size_t end = 0;
  if (!text.empty() && (text[0] == '"' || text[0] == '\'')) {
    end = text.find(text[0], 1);
    if (end == std::string_view::npos || text.substr(end + 1, 1) != ":") {
      line.plain = true;
      return line;
    }
    line.key = std::string(text.substr(1, end - 1));
    ++end;
  } else {
    // A colon ends a key when a space or nothing follows: images have colons too.
    for (end = text.find(':');
         end != std::string_view::npos && end + 1 < text.size() && text[end + 1] != ' ';) {
      end = text.find(':', end + 1);
    }
    if (end == std::string_view::npos) {
      line.plain = true;
      return line;
    }
    line.key = std::string(text.substr(0, end));
  }
  std::string_view value = text.substr(end + 1);
  const size_t comment = value.find(" #");
  if (comment != std::string_view::npos) value = value.substr(0, comment);
  line.value = Trimmed(value);
  return line;
}

// One open map or list; its members are written `indent` columns in.
struct Open {
  const Schema* schema;
  size_t indent;
  bool in_item;  // a map that is an item of a list
  std::set<std::string> used = {};
};

class Indenter {
 public:
  // False when a line has no place anywhere.
  bool Take(std::string_view text) {
    if (text == "---") {
      open_.clear();
      Write(0, text);
      return true;
    }
    if (text.empty() || text[0] == '#') {
      Write(open_.empty() ? 0 : open_.back().indent, text);
      return true;
    }
    if (open_.empty()) open_.push_back({Object(), 0, false});
    const Line line = Split(text);
    if (line.plain) return line.item && TakeWord(text);
    if (line.item) return TakeItem(line);
    for (size_t depth = open_.size(); depth-- > 0;) {
      Open& map = open_[depth];
      if (map.schema->kind != Schema::Kind::kMap && !map.in_item) continue;
      if (map.used.count(line.key) > 0) continue;
      const Schema* below = map.schema->Find(line.key, line.value);
      if (below == nullptr) continue;
      open_.resize(depth + 1);
      Enter(line, below, map.indent, text);
      return true;
    }
    return false;
  }

  std::string Text() { return std::move(out_); }

 private:
  void Write(size_t indent, std::string_view text) {
    out_ += std::string(indent, ' ');
    out_ += text;
    out_ += '\n';
  }

  bool TakeWord(std::string_view text) {
    while (!open_.empty() && open_.back().schema->kind != Schema::Kind::kWords) open_.pop_back();
    if (open_.empty()) return false;
    Write(open_.back().indent, text);
    return true;
  }

  bool TakeItem(const Line& line) {
    for (size_t depth = open_.size(); depth-- > 0;) {
      const Open& list = open_[depth];
      if (list.schema->kind != Schema::Kind::kList || list.in_item) continue;
      const Schema* below = list.schema->Find(line.key, line.value);
      if (below == nullptr) continue;
      open_.resize(depth + 1);
      const size_t indent = open_.back().indent;
      open_.push_back({open_.back().schema, indent + 2, true});
      Enter(line, below, indent, line.text);
      return true;
    }
    return false;
  }

  void Enter(const Line& line, const Schema* below, size_t indent, std::string_view text) {
    open_.back().used.insert(line.key);
    const size_t inner = open_.back().indent + 2;
    Write(indent, text);
    const bool opens = below->kind != Schema::Kind::kValue;
    const bool block = !line.value.empty() && (line.value[0] == '|' || line.value[0] == '>');
    if (opens && (line.value.empty() || block)) open_.push_back({below, inner, false});
  }

  std::vector<Open> open_;
  std::string out_;
};

}  // namespace

std::string WithIndentation(std::string_view text) {
  Indenter indenter;
  bool opens = false;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    if (!line.empty() && (line[0] == ' ' || line[0] == '\t')) return "";
    line = Trimmed(line);
    opens = opens || line == "metadata:" || line == "sharing:" || line == "mig-configs:";
    if (!indenter.Take(line)) return "";
  }
  return opens ? indenter.Text() : "";
}

}  // namespace tranche::importing
