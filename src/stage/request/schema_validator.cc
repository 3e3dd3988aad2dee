#include "stage/request/schema_validator.h"

#include <cmath>
#include <cstdlib>
#include <regex>

#include "base/json.h"
#include "stage/request/shape.h"

namespace tranche {
namespace {

bool HasType(const Json& value, const std::string& type) {
  if (type == "string") return value.is_string();
  if (type == "boolean") return value.is_boolean();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "number") return value.is_number();
  if (type == "integer")
    return value.is_number() && std::floor(value.get<double>()) == value.get<double>();
  return false;
}

bool Matches(const Json& pattern, const std::string& text) {
  return std::regex_search(text, std::regex(pattern.get<std::string>()));
}

std::string CheckObject(const Json& schema, const Json& value, const std::string& where) {
  for (const Json& name : schema.value("required", Json::array())) {
    if (!value.contains(name.get<std::string>()))
      return where + " lacks " + name.get<std::string>();
  }
  const Json properties = schema.value("properties", Json::object());
  for (const auto& item : value.items()) {
    const std::string inner = where + "." + item.key();
    if (schema.contains("propertyNames") &&
        !Matches(schema["propertyNames"]["pattern"], item.key())) {
      return inner + " has a wrong name";
    }
    const bool known = properties.contains(item.key());
    const Json& rule = known ? properties[item.key()] : schema["additionalProperties"];
    if (rule == Json(false)) return inner + " is unknown";
    if (rule == Json(true)) continue;
    if (std::string found = SchemaViolation(rule, item.value(), inner); !found.empty())
      return found;
  }
  return "";
}

}  // namespace

std::string SchemaViolation(const Json& schema, const Json& value, const std::string& where) {
  for (const auto& item : schema.items()) {
    const std::string& keyword = item.key();
    const Json& rule = item.value();
    bool holds = true;
    if (keyword == "type") {
      if (rule.is_string()) {
        holds = HasType(value, rule);
      } else {
        holds = false;
        for (const Json& type : rule) holds |= HasType(value, type);
      }
    } else if (keyword == "enum") {
      holds = std::find(rule.begin(), rule.end(), value) != rule.end();
    } else if (keyword == "pattern") {
      holds = !value.is_string() || Matches(rule, value);
    } else if (keyword == "minLength") {
      holds = !value.is_string() || value.get<std::string>().size() >= rule.get<size_t>();
    } else if (keyword == "minimum") {
      holds = !value.is_number() || value.get<double>() >= rule.get<double>();
    } else if (keyword == "exclusiveMinimum") {
      holds = !value.is_number() || value.get<double>() > rule.get<double>();
    } else if (keyword == "maximum") {
      holds = !value.is_number() || value.get<double>() <= rule.get<double>();
    } else if (keyword == "minItems") {
      holds = !value.is_array() || value.size() >= rule.get<size_t>();
    } else if (keyword == "anyOf") {
      holds = false;
      for (const Json& alternative : rule)
        holds |= SchemaViolation(alternative, value, where).empty();
    } else if (keyword == "items") {
      if (!value.is_array()) continue;
      for (size_t i = 0; i < value.size(); ++i) {
        std::string found = SchemaViolation(rule, value[i], where + "[" + std::to_string(i) + "]");
        if (!found.empty()) return found;
      }
    } else if (keyword == "additionalProperties") {
      if (!value.is_object()) continue;
      if (std::string found = CheckObject(schema, value, where); !found.empty()) return found;
    } else if (keyword != "properties" && keyword != "required" && keyword != "propertyNames" &&
               keyword != "description" && keyword != "examples" && keyword != "title" &&
               keyword != "$schema") {
      return where + ": keyword " + keyword + " is not known";
    }
    if (!holds) return where + " breaks " + keyword + " " + rule.dump();
  }
  return "";
}

Json JsonOfYaml(const YamlNode& node) {
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const YamlNode& item : node.items) list.push_back(JsonOfYaml(item));
    return list;
  }
  if (node.IsMap()) {
    Json object = Json::object();
    for (const auto& [key, value] : node.members) object[key.scalar] = JsonOfYaml(value);
    return object;
  }
  switch (ScalarKindOf(node)) {
    case ScalarKind::kNull:
      return nullptr;
    case ScalarKind::kBool:
      return node.scalar[0] == 't' || node.scalar[0] == 'T';
    case ScalarKind::kInteger:
    case ScalarKind::kNumber: {
      const double number = std::strtod(node.scalar.c_str(), nullptr);
      const bool named = node.scalar.find_first_of("nN") != std::string::npos;
      return named || !std::isfinite(number) ? Json(nullptr) : Json(number);
    }
    case ScalarKind::kText:
      break;
  }
  return node.scalar;
}

}  // namespace tranche
