#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/suggest.h"
#include "base/units.h"
#include "catalog/catalog.h"
#include "model/spec.h"
#include "stage/request/mistakes.h"
#include "stage/request/shape.h"

namespace tranche {

// What reading needs beside the tree.
struct ReadContext {
  Mistakes& mistakes;
  const Catalog& catalog;
  const std::string& directory;
};

// How one kind of value is read. `read` returns nothing after it has told `mistakes` why; `key` is
// the name to use in the message.
template <typename T>
struct Value {
  Shape shape;
  std::function<std::optional<T>(ReadContext&, const std::string& key, const YamlNode&)> read;
};

// One row of an object's table.
template <typename T>
struct Field {
  FieldShape shape;
  std::function<void(ReadContext&, const YamlNode&, T*)> read;
};

template <typename T>
using Fields = std::vector<Field<T>>;

// "memory is a list, not a size" with an example.
void AddWrongType(ReadContext& context, const std::string& key, const YamlNode& node,
                  const Shape& shape);
void AddUnknownKey(ReadContext& context, const YamlNode& key, const std::string& object,
                   const std::vector<std::string>& names);

Value<std::string> Label(std::string what, std::string example);
Value<std::string> Currency();
Value<std::string> Route();
Value<std::string> Path(std::string example);                    // made absolute
Value<std::string> Word(std::string what, std::string example);  // no blanks; not empty
Value<std::string> Argument(std::string example);                // any scalar, as written
Value<int> TimeOfDay();                                          // in minutes
Value<std::string> TimeZone();  // whether it exists is known where it is used
Value<std::string> GpuUuid();   // or the beginning of one
Value<std::string> ProfileName();
Value<std::string> SliceProfile();  // with media engines or graphics, too
Value<bool> Boolean();
Value<int> Integer(std::string what, int minimum, int maximum, std::string example);
Value<double> Number(std::string what, double minimum, double maximum, bool above_minimum,
                     std::string example);
Value<Bytes> Size();
Value<Fraction> ShareOfGpu();
Value<Duration> TimeSpan(Duration minimum, Duration maximum, std::string example);
Value<double> Parameters();
Value<std::string> GpuName();  // its catalog key
Value<std::string> OneOf(std::string what, std::vector<std::string> words);
Value<std::map<std::string, std::string>> Environment();
Value<std::map<std::string, double>> Prices();
Value<std::vector<std::string>> Arguments(bool not_empty, std::string example);

// A word that stands for a value.
template <typename E>
Value<E> Enum(std::string what, std::vector<std::pair<std::string, E>> names) {
  std::vector<std::string> words;
  for (const auto& [word, value] : names) words.push_back(word);
  const Value<std::string> word = OneOf(std::move(what), std::move(words));
  return {word.shape,
          [word, names](ReadContext& context, const std::string& key,
                        const YamlNode& node) -> std::optional<E> {
            const auto found = word.read(context, key, node);
            if (!found) return std::nullopt;
            for (const auto& [name, value] : names) {
              if (name == *found) return value;
            }
            return std::nullopt;
          }};
}

// A row whose value goes wherever `store(object, value)` puts it.
template <typename Object, typename T, typename Store>
Field<Object> RowTo(std::string name, Value<T> value, Store store, std::string otherwise,
                    std::string doc) {
  Field<Object> field;
  field.shape = {name, value.shape, otherwise == "required", std::move(otherwise), std::move(doc)};
  field.read = [name = std::move(name), store, read = std::move(value.read)](
                   ReadContext& context, const YamlNode& node, Object* object) {
    if (auto got = read(context, name, node)) store(object, *std::move(got));
  };
  return field;
}

// A row: the member of `Object` that `value` fills.
template <typename Object, typename Member, typename T>
Field<Object> Row(std::string name, Member Object::*member, Value<T> value, std::string otherwise,
                  std::string doc) {
  return RowTo<Object>(
      std::move(name), std::move(value),
      [member](Object* object, T got) { object->*member = std::move(got); }, std::move(otherwise),
      std::move(doc));
}

// Reads what it can of a map, whatever else is wrong with it.
template <typename T>
T ReadFields(ReadContext& context, const std::string& object, const YamlNode& node,
             const Fields<T>& fields) {
  T result{};
  std::vector<std::string> names;
  for (const auto& [key, value] : node.members) {
    const Field<T>* found = nullptr;
    for (const Field<T>& field : fields) {
      if (field.shape.name == key.scalar) found = &field;
    }
    if (found != nullptr) {
      const size_t before = context.mistakes.size();
      found->read(context, value, &result);
      if (context.mistakes.size() != before) context.mistakes.MarkBroken(value);
      continue;
    }
    if (names.empty()) {
      for (const Field<T>& field : fields) names.push_back(field.shape.name);
    }
    AddUnknownKey(context, key, object, names);
  }
  for (const Field<T>& field : fields) {
    if (!field.shape.required || node.Find(field.shape.name) != nullptr) continue;
    context.mistakes.Add(
        node, object + " has no '" + field.shape.name + "'",
        "add, for example, " + field.shape.name + ": " + field.shape.shape.example);
  }
  return result;
}

template <typename T>
Shape ObjectShape(std::string what, std::string example, const Fields<T>& fields) {
  auto shapes = std::make_shared<std::vector<FieldShape>>();
  for (const Field<T>& field : fields) shapes->push_back(field.shape);
  Shape shape;
  shape.kind = Shape::Kind::kObject;
  shape.what = std::move(what);
  shape.example = std::move(example);
  shape.fields = std::move(shapes);
  return shape;
}

template <typename T>
Value<T> Object(std::string what, std::string example, Fields<T> fields) {
  const Shape shape = ObjectShape(what, std::move(example), fields);
  return {shape,
          [shape, fields](ReadContext& context, const std::string& key,
                          const YamlNode& node) -> std::optional<T> {
            if (!node.IsMap()) {
              AddWrongType(context, key, node, shape);
              return std::nullopt;
            }
            return ReadFields(context, key, node, fields);
          }};
}

// A list of plain values.
template <typename T>
Value<std::vector<T>> ListOfPlain(std::string what, bool not_empty, Value<T> item) {
  Shape shape;
  shape.kind = Shape::Kind::kList;
  shape.what = std::move(what);
  shape.example = "[" + item.shape.example + "]";
  shape.not_empty = not_empty;
  shape.of = {item.shape};
  return {
      shape,
      [shape, read = std::move(item.read)](ReadContext& context, const std::string& key,
                                           const YamlNode& node) -> std::optional<std::vector<T>> {
        if (!node.IsSequence()) {
          AddWrongType(context, key, node, shape);
          return std::nullopt;
        }
        if (shape.not_empty && node.items.empty()) {
          context.mistakes.Add(node, key + " is an empty list",
                               "give at least one: " + shape.example);
          return std::nullopt;
        }
        std::vector<T> items;
        for (size_t i = 0; i < node.items.size(); ++i) {
          const std::string name = key + "[" + std::to_string(i) + "]";
          if (auto got = read(context, name, node.items[i])) items.push_back(*std::move(got));
        }
        return items;
      }};
}

// One value, or a list of them.
template <typename T>
Value<std::vector<T>> OneOrMore(std::string what, Value<T> one) {
  const Value<std::vector<T>> list = ListOfPlain<T>(std::move(what), true, one);
  Shape shape;
  shape.kind = Shape::Kind::kAnyOf;
  shape.what = one.shape.what + " or " + list.shape.what;
  shape.example = one.shape.example;
  shape.of = {one.shape, list.shape};
  return {shape,
          [shape, one, list](ReadContext& context, const std::string& key,
                             const YamlNode& node) -> std::optional<std::vector<T>> {
            if (node.IsSequence()) return list.read(context, key, node);
            if (!node.IsScalar()) {
              AddWrongType(context, key, node, shape);
              return std::nullopt;
            }
            auto got = one.read(context, key, node);
            if (!got) return std::nullopt;
            return std::vector<T>{*std::move(got)};
          }};
}

// A list of maps; `name` is what its items are called in messages.
template <typename T>
Value<std::vector<T>> ListOf(std::string what, std::string name, bool not_empty, Value<T> item) {
  Shape shape;
  shape.kind = Shape::Kind::kList;
  shape.what = std::move(what);
  shape.example = "[" + item.shape.example + "]";
  shape.not_empty = not_empty;
  shape.of = {item.shape};
  return {shape,
          [shape, name, read = std::move(item.read)](
              ReadContext& context, const std::string& key,
              const YamlNode& node) -> std::optional<std::vector<T>> {
            if (!node.IsSequence()) {
              AddWrongType(context, key, node, shape);
              return std::nullopt;
            }
            if (shape.not_empty && node.items.empty()) {
              context.mistakes.Add(node, key + " is an empty list",
                                   "give at least one: " + shape.example);
            }
            // Items keep their index, so that checks can find the node of each again.
            std::vector<T> items;
            for (const YamlNode& child : node.items) {
              if (!child.IsMap()) {
                context.mistakes.Add(child, name + " is " + Describe(child) + ", not a map",
                                     "for example " + shape.of[0].example);
                items.emplace_back();
                continue;
              }
              auto value = read(context, name, child);
              items.push_back(value ? *std::move(value) : T{});
            }
            return items;
          }};
}

}  // namespace tranche
