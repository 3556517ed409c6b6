// ConfigJsonSchema: the Fields visitor behind the JSON Schema that editors complete from.
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "common/config/bounds.h"
#include "common/config/config.h"
#include "common/config/node.h"

namespace mariana {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kNumber[] = R"(^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?)";

Json WithBounds(Json schema, const Rule& rule) {
  const auto limit = [](double v) {
    return std::abs(v) < 1e15 && v == std::floor(v) ? Json(static_cast<int64_t>(v)) : Json(v);
  };
  if (std::isfinite(rule.min)) {
    schema[rule.min_open ? "exclusiveMinimum" : "minimum"] = limit(rule.min);
  }
  if (std::isfinite(rule.max)) {
    schema[rule.max_open ? "exclusiveMaximum" : "maximum"] = limit(rule.max);
  }
  return schema;
}

// Bounds of a list of structs are those of its size.
Json WithSizes(Json schema, const Rule& rule) {
  if (std::isfinite(rule.min)) {
    schema["minItems"] = static_cast<int64_t>(std::floor(rule.min)) + (rule.min_open ? 1 : 0);
  }
  if (std::isfinite(rule.max)) {
    schema["maxItems"] = static_cast<int64_t>(std::ceil(rule.max)) - (rule.max_open ? 1 : 0);
  }
  return schema;
}

Json Quantity(const char* units, const Rule& rule) {
  Json schema = {{"type", {"number", "string"}}, {"pattern", kNumber + std::string(units)}};
  return WithBounds(schema, rule);
}

const Json& TextSchema() {  // any single value is text
  static const Json schema = {{"type", {"string", "number", "boolean"}}};
  return schema;
}

class SchemaWriter final : public Fields {
 public:
  std::string Write(const std::string& title, const std::function<void(Fields*)>& describe) {
    Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", title}};
    schema.update(Object("", describe));
    schema["patternProperties"] = {{"^x-", Json::object()}};
    if (!definitions_.empty()) schema["$defs"] = definitions_;
    return schema.dump(2) + "\n";
  }

  void Int(const char* key, int64_t* value, const char* doc, Rule rule) override {
    Add(key, WithBounds({{"type", "integer"}}, rule), *value, doc, rule.required);
  }
  void Real(const char* key, double* value, const char* doc, Rule rule) override {
    Add(key, WithBounds({{"type", "number"}}, rule), *value, doc, rule.required);
  }
  void Bool(const char* key, bool* value, const char* doc) override {
    Add(key, {{"type", "boolean"}}, *value, doc, false);
  }
  void Text(const char* key, std::string* value, const char* doc, Rule rule) override {
    Add(key, TextSchema(), *value, doc, rule.required);
  }
  void Path(const char* key, std::string* value, PathKind, const char* doc, Rule rule) override {
    Add(key, TextSchema(), *value, doc, rule.required);
  }
  void Bytes(const char* key, int64_t* value, const char* doc, Rule rule) override {
    Add(key, Quantity(" *(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$", rule), *value, doc, rule.required);
  }
  void Seconds(const char* key, double* value, const char* doc, Rule rule) override {
    Add(key, Quantity(" *(ms|s|min|h|d)$", rule), *value, doc, rule.required);
  }
  void IntList(const char* key, std::vector<int64_t>* value, const char* doc, Rule rule) override {
    AddList(key, WithBounds({{"type", "integer"}}, rule), *value, doc, rule.required);
  }
  void IntListOr(const char* key, std::vector<int64_t>* value, const char* word, const char* doc,
                 Rule rule) override {
    const Json element = WithBounds({{"type", "integer"}}, rule);
    const Json list = {{"type", "array"}, {"items", element}};
    const Json initial = value->empty() ? Json(word) : Json(*value);
    Add(key, {{"anyOf", Json::array({list, element, {{"const", word}}})}}, initial, doc,
        rule.required);
  }
  void RealList(const char* key, std::vector<double>* value, const char* doc, Rule rule) override {
    AddList(key, WithBounds({{"type", "number"}}, rule), *value, doc, rule.required);
  }
  void TextList(const char* key, std::vector<std::string>* value, const char* doc,
                Rule rule) override {
    AddList(key, TextSchema(), *value, doc, rule.required);
  }
  void Require(bool, const char*, const std::string&) override {}

 protected:
  void DoChoice(const char* key, const std::vector<const char*>& names, int* chosen,
                const char* doc) override {
    Add(key, {{"enum", names}}, names[static_cast<size_t>(*chosen)], doc, false);
  }

  void DoSection(const char* key, const std::function<void(Fields*)>& describe,
                 const char* doc) override {
    Json schema = Object(JoinKeys(path_, key), describe);
    const bool required = schema.contains("anyOf");
    if (!required) schema["type"] = {"object", "null"};  // "key:" alone is an empty section
    Add(key, std::move(schema), nullptr, doc, required);
  }

  void DoList(const char* key, size_t, const std::function<void(size_t)>&,
              const std::function<void(size_t, Fields*)>&,
              const std::function<void(Fields*)>& describe_prototype, const char* doc,
              Rule rule) override {
    const Json items = Object(JoinKeys(path_, key), describe_prototype);
    Add(key, WithSizes({{"type", "array"}, {"items", items}}, rule), nullptr, doc, rule.required);
  }

  void DoVariants(const char* key, const std::vector<VariantRow>& rows, size_t,
                  const std::function<void(size_t, size_t)>&, const std::function<void()>&,
                  const std::function<const char*(size_t)>&,
                  const std::function<void(size_t, Fields*)>&, const char* doc,
                  Rule rule) override {
    const Json items = {{"$ref", "#/$defs/" + Catalog(JoinKeys(path_, key), rows)}};
    Add(key, WithSizes({{"type", "array"}, {"items", items}}, rule), nullptr, doc, rule.required);
  }

 private:
  // The schema of one struct.
  Json Object(const std::string& path, const std::function<void(Fields*)>& describe) {
    Json properties = Json::object(), required = Json::array();
    std::string own_path = path;
    std::swap(properties, properties_);
    std::swap(required, required_);
    std::swap(own_path, path_);
    describe(this);
    std::swap(properties, properties_);
    std::swap(required, required_);
    std::swap(own_path, path_);
    properties["include"] = {{"type", "string"},
                             {"description", "A YAML file whose keys stand for those not given."}};
    Json schema = {
        {"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
    if (!required.empty()) {  // here, or in the file
      schema["anyOf"] = Json::array({{{"required", std::move(required)}},
                                     {{"required", Json::array({"include"})}}});
    }
    return schema;
  }

  void Add(const char* key, Json schema, const Json& initial, const char* doc, bool required) {
    schema["description"] = doc;
    if (required) {
      required_.push_back(key);
    } else if (!initial.is_null()) {
      schema["default"] = initial;
    }
    properties_[key] = std::move(schema);
  }

  // A single value may stand for a list of one.
  void AddList(const char* key, Json element, const Json& initial, const char* doc, bool required) {
    Json list = {{"type", "array"}, {"items", element}};
    if (required) list["minItems"] = 1;
    Add(key, {{"anyOf", Json::array({std::move(list), std::move(element)})}}, initial, doc,
        required);
  }

  // The name of the definition of these types, made where they are met first: a variant may hold
  // a list of the same variants.
  std::string Catalog(const std::string& path, const std::vector<VariantRow>& rows) {
    std::string id;
    for (const VariantRow& row : rows) id += std::string(row.type) + "\n" + row.doc + "\n";
    const auto known = catalogs_.emplace(id, path);
    if (!known.second) return known.first->second;
    Json types = Json::array(), choices = Json::array();
    for (const VariantRow& row : rows) {
      Json variant = Object(path, row.describe);
      variant["properties"]["type"] = {{"const", row.type}};
      variant["description"] = row.doc;
      const std::string name = path + "." + row.type;
      definitions_[name] = std::move(variant);
      types.push_back(row.type);
      const Json is_type = {{"properties", {{"type", {{"const", row.type}}}}},
                            {"required", Json::array({"type"})}};
      choices.push_back({{"if", is_type}, {"then", {{"$ref", "#/$defs/" + name}}}});
    }
    definitions_[path] = {{"type", "object"},
                          {"required", Json::array({"type"})},
                          {"properties", {{"type", {{"enum", types}}}}},
                          {"allOf", choices}};
    return path;
  }

  Json properties_ = Json::object(), required_ = Json::array(), definitions_ = Json::object();
  std::string path_;
  std::map<std::string, std::string> catalogs_;  // types and texts -> definition
};

}  // namespace

std::string ConfigJsonSchema(const std::string& title,
                             const std::function<void(Fields*)>& describe) {
  return SchemaWriter().Write(title, describe);
}

}  // namespace mariana
