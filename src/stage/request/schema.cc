#include "stage/request/schema.h"

#include <fmt/format.h>

#include "base/json.h"

namespace tranche {
namespace {

using Kind = Shape::Kind;

Json SchemaOf(const Shape& shape);

Json ObjectSchema(const Shape& shape) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const FieldShape& field : *shape.fields) {
    Json schema = {
        {"description",
         field.required ? field.doc : fmt::format("{} Default: {}.", field.doc, field.otherwise)}};
    schema.update(SchemaOf(field.shape));
    properties[field.name] = std::move(schema);
    if (field.required) required.push_back(field.name);
  }
  Json schema = {{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) schema["required"] = std::move(required);
  schema["additionalProperties"] = false;
  return schema;
}

Json SchemaOf(const Shape& shape) {
  Json schema = Json::object();
  switch (shape.kind) {
    case Kind::kText:
      if (!shape.words.empty()) {
        schema["enum"] = shape.words;
        break;
      }
      schema["type"] = shape.any_scalar ? Json{"string", "number", "boolean"} : Json("string");
      if (!shape.pattern.empty()) schema["pattern"] = shape.pattern;
      if (shape.free_text && shape.pattern.empty()) schema["minLength"] = 1;
      schema["examples"] = {shape.example};
      break;
    case Kind::kInteger:
    case Kind::kNumber: {
      const bool whole = shape.kind == Kind::kInteger;
      const auto limit = [whole](double value) {
        return whole ? Json(static_cast<int64_t>(value)) : Json(value);
      };
      schema["type"] = whole ? "integer" : "number";
      schema[shape.above_minimum ? "exclusiveMinimum" : "minimum"] = limit(*shape.minimum);
      schema["maximum"] = limit(*shape.maximum);
      break;
    }
    case Kind::kBool:
      schema["type"] = "boolean";
      break;
    case Kind::kList:
      schema["type"] = "array";
      schema["items"] = SchemaOf(shape.of[0]);
      if (shape.not_empty) schema["minItems"] = 1;
      break;
    case Kind::kMap:
      schema["type"] = "object";
      if (!shape.pattern.empty()) schema["propertyNames"] = {{"pattern", shape.pattern}};
      schema["additionalProperties"] = SchemaOf(shape.of[0]);
      break;
    case Kind::kObject:
      return ObjectSchema(shape);
    case Kind::kAnyOf: {
      Json any = Json::array();
      for (const Shape& alternative : shape.of) any.push_back(SchemaOf(alternative));
      schema["anyOf"] = std::move(any);
      break;
    }
  }
  return schema;
}

// The object that a value is, or holds, or may be; nullptr for none.
const Shape* ObjectIn(const Shape& shape) {
  if (shape.kind == Kind::kObject) return &shape;
  if (shape.kind != Kind::kList && shape.kind != Kind::kAnyOf) return nullptr;
  for (const Shape& inner : shape.of) {
    if (const Shape* object = ObjectIn(inner)) return object;
  }
  return nullptr;
}

// What may be written, in a table's cell.
std::string Cell(const Shape& shape) {
  if (!shape.words.empty()) return fmt::format("`{}`", fmt::join(shape.words, "`, `"));
  if (shape.kind == Kind::kBool) return "`true` or `false`";
  std::string text;
  if (shape.kind == Kind::kAnyOf && ObjectIn(shape) != nullptr) {
    for (const Shape& alternative : shape.of) {
      text += (text.empty() ? "" : "; or ") + Cell(alternative);
    }
    return text;
  }
  text = fmt::format("{}: `{}`", shape.what, shape.example);
  if ((shape.kind == Kind::kInteger || shape.kind == Kind::kNumber) && *shape.maximum < 2e9 &&
      *shape.minimum < *shape.maximum) {
    text += shape.above_minimum ? fmt::format(" (at most {})", *shape.maximum)
                                : fmt::format(" ({} to {})", *shape.minimum, *shape.maximum);
  }
  return text;
}

void AddTables(const Shape& object, const std::string& path, std::string* text) {
  *text += fmt::format("### {}\n\n| key | value | without it | meaning |\n|---|---|---|---|\n",
                       path.empty() ? "The file" : "`" + path + "`");
  for (const FieldShape& field : *object.fields) {
    *text += fmt::format("| `{}` | {} | {} | {} |\n", field.name, Cell(field.shape),
                         field.required ? "**required**" : field.otherwise, field.doc);
  }
  *text += "\n";
  for (const FieldShape& field : *object.fields) {
    const Shape* inner = ObjectIn(field.shape);
    if (inner == nullptr) continue;
    const std::string here = path + (path.empty() ? "" : ".") + field.name;
    AddTables(*inner, field.shape.kind == Kind::kList ? here + "[]" : here, text);
  }
}

}  // namespace

Json SpecJsonSchema(const Shape& spec) {
  Json schema = {
      {"$schema", "https://json-schema.org/draft/2020-12/schema"},
      {"title", "Tranche spec, version 1"},
      {"description", "What each workload needs. The format is described in docs/spec.md."}};
  schema.update(SchemaOf(spec));
  const auto needs = [](const char* key) {
    return Json{{"type", "object"}, {"required", {key}}, {"additionalProperties", true}};
  };
  const auto has = [&](const char* key) { return schema["properties"].contains(key); };
  if (has("workloads") && has("tiers")) {
    schema["anyOf"] = {needs("workloads"), needs("tiers")};
  }
  return schema;
}

std::string SpecKeyTables(const Shape& spec) {
  std::string text;
  AddTables(spec, "", &text);
  text.pop_back();
  return text;
}

}  // namespace tranche
