// The one file that sees toml11 and catches its exceptions.
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <toml.hpp>

#include "sim/mps/configuration.h"

namespace tranche::sim::mps {
namespace {

class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  Configuration Read(const toml::value& root) {
    Configuration configuration;
    CheckKeys(root, "", {"schema_version", "servers", "features"});
    const auto version = Text(root, "", "schema_version");
    if (version != "1.0") Wrong(root, "schema_version is to be \"1.0\"");
    if (const toml::value* servers = Table(root, "", "servers")) {
      for (const auto& [name, server] : Sorted(*servers))
        configuration.servers.push_back(ReadServer(name, *server));
    }
    if (const toml::value* features = Table(root, "", "features"))
      ReadFeatures(*features, &configuration);
    return configuration;
  }

  // Those found, in the order of the file.
  std::string mistakes() const {
    std::string all;
    for (const auto& [line, text] : mistakes_)
      all += (all.empty() ? "" : "\n") + file_ + ":" + std::to_string(line) + ": " + text;
    return all;
  }

 private:
  using Keys = std::set<std::string>;

  static size_t LineOf(const toml::value& value) {
    try {
      return value.location().line();
    } catch (const std::exception&) {
      // A table that is only implied by another's name stands nowhere.
      return 1;
    }
  }
  void Wrong(const toml::value& at, const std::string& text) {
    mistakes_.emplace(LineOf(at), text);
  }

  static std::map<std::string, const toml::value*> Sorted(const toml::value& table) {
    std::map<std::string, const toml::value*> members;
    for (const auto& [key, member] : table.as_table()) members.emplace(key, &member);
    return members;
  }
  void CheckKeys(const toml::value& table, const std::string& path, const Keys& known) {
    for (const auto& [key, member] : Sorted(table)) {
      if (known.count(key) == 0) Wrong(*member, "unknown key '" + path + key + "'");
    }
  }

  const toml::value* Member(const toml::value& table, const std::string& key) {
    const auto found = table.as_table().find(key);
    return found == table.as_table().end() ? nullptr : &found->second;
  }
  const toml::value* Table(const toml::value& table, const std::string& path,
                           const std::string& key) {
    const toml::value* member = Member(table, key);
    if (member == nullptr || member->is_table()) return member;
    Wrong(*member, path + key + " is no table");
    return nullptr;
  }
  std::vector<const toml::value*> Tables(const toml::value& table, const std::string& path,
                                         const std::string& key) {
    std::vector<const toml::value*> tables;
    const toml::value* member = Member(table, key);
    if (member == nullptr) return tables;
    if (!member->is_array()) {
      Wrong(*member, path + key + " is no array of tables");
      return tables;
    }
    for (const toml::value& one : member->as_array()) {
      if (one.is_table()) tables.push_back(&one);
      if (!one.is_table()) Wrong(one, path + key + " is no array of tables");
    }
    return tables;
  }
  std::optional<std::string> Text(const toml::value& table, const std::string& path,
                                  const std::string& key) {
    const toml::value* member = Member(table, key);
    if (member == nullptr) return std::nullopt;
    if (member->is_string()) return member->as_string().str;
    Wrong(*member, path + key + " is no string");
    return std::nullopt;
  }
  bool Bool(const toml::value& table, const std::string& path, const std::string& key,
            bool otherwise) {
    const toml::value* member = Member(table, key);
    if (member == nullptr) return otherwise;
    if (member->is_boolean()) return member->as_boolean();
    Wrong(*member, path + key + " is neither true nor false");
    return otherwise;
  }
  std::optional<int64_t> Integer(const toml::value& table, const std::string& path,
                                 const std::string& key) {
    const toml::value* member = Member(table, key);
    if (member == nullptr) return std::nullopt;
    if (member->is_integer() && member->as_integer() >= 0) return member->as_integer();
    Wrong(*member, path + key + " is no whole number from 0 on");
    return std::nullopt;
  }

  LimitsWish Limits(const toml::value& table, const std::string& path) {
    return {Text(table, path, "pinned_memory_limit"), Text(table, path, "active_thread_percentage"),
            Text(table, path, "client_priority")};
  }

  Configuration::Server ReadServer(const std::string& name, const toml::value& table) {
    const std::string path = "servers." + name + ".";
    Configuration::Server server;
    server.wish.name = name;
    server.wish.uid = geteuid();
    if (!table.is_table()) {
      Wrong(table, "servers." + name + " is no table");
      return server;
    }
    CheckKeys(table, path,
              {"allowed_devices", "pinned_memory_limit", "active_thread_percentage",
               "client_priority", "uid", "locality_domains", "namespaces", "devices"});
    server.wish.allowed_devices = Text(table, path, "allowed_devices").value_or("");
    server.wish.locality_domains = Bool(table, path, "locality_domains", false);
    const auto uid = Integer(table, path, "uid");
    if (uid && *uid >= kNoId) Wrong(*Member(table, "uid"), path + "uid is no user id");
    if (uid) server.wish.uid = static_cast<uint32_t>(*uid);
    server.limits = Limits(table, path);
    if (const toml::value* namespaces = Table(table, path, "namespaces")) {
      for (const auto& [inner, one] : Sorted(*namespaces))
        ReadNamespace(path + "namespaces." + inner, inner, *one, &server);
    }
    for (const toml::value* device : Tables(table, path, "devices"))
      ReadDevice(path + "devices.", *device, &server);
    return server;
  }

  void ReadNamespace(const std::string& path, const std::string& name, const toml::value& table,
                     Configuration::Server* server) {
    if (!table.is_table()) return Wrong(table, path + " is no table");
    CheckKeys(table, path + ".",
              {"pinned_memory_limit", "active_thread_percentage", "client_priority"});
    server->namespaces.push_back({name, Limits(table, path + ".")});
  }

  void ReadDevice(const std::string& path, const toml::value& table,
                  Configuration::Server* server) {
    CheckKeys(table, path, {"uuid", "sm_partitions"});
    const auto uuid = Text(table, path, "uuid");
    if (!uuid) Wrong(table, path + "uuid is missing");
    for (const toml::value* one : Tables(table, path, "sm_partitions")) {
      const std::string inner = path + "sm_partitions.";
      CheckKeys(*one, inner, {"name", "chunks", "include_remainder"});
      const auto name = Text(*one, inner, "name");
      const auto chunks = Integer(*one, inner, "chunks");
      if (!name) Wrong(*one, inner + "name is missing");
      if (!chunks) Wrong(*one, inner + "chunks is missing");
      server->partitions.push_back({name.value_or(""), uuid.value_or(""),
                                    std::to_string(chunks.value_or(0)),
                                    Bool(*one, inner, "include_remainder", false)});
    }
  }

  void ReadFeatures(const toml::value& table, Configuration* configuration) {
    const std::string path = "features.";
    CheckKeys(table, path, {"memacct", "context-share"});
    if (const toml::value* memacct = Table(table, path, "memacct")) {
      CheckKeys(*memacct, path + "memacct.", {"enabled", "audit_log"});
      configuration->features.push_back(
          {"memacct", Bool(*memacct, path + "memacct.", "enabled", true)});
      configuration->audit_log = Bool(*memacct, path + "memacct.", "audit_log", false);
    }
    if (const toml::value* sharing = Table(table, path, "context-share")) {
      CheckKeys(*sharing, path + "context-share.", {"enabled", "default_socket"});
      configuration->features.push_back(
          {"context-share", Bool(*sharing, path + "context-share.", "enabled", false)});
      const toml::value* socket = Member(*sharing, "default_socket");
      if (socket != nullptr && !socket->is_string() && !socket->is_boolean())
        Wrong(*socket, path + "context-share.default_socket is no string, true or false");
    }
  }

  const std::string file_;
  std::multimap<size_t, std::string> mistakes_;
};

}  // namespace

Result<Configuration> ReadConfiguration(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return Fail(ErrorCode::kInvalid, "Cannot read " + file);
  try {
    Reader reader(file);
    Configuration configuration = reader.Read(toml::parse(stream, file));
    const std::string mistakes = reader.mistakes();
    if (!mistakes.empty()) return Fail(ErrorCode::kInvalid, mistakes);
    return configuration;
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kInvalid, file + " is no TOML: " + error.what());
  }
}

}  // namespace tranche::sim::mps
