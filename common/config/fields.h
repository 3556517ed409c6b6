// Fields: the one description of a job spec. A spec struct names each of its fields once, in
// Describe(Fields*); visitors behind this interface read YAML into it, print the effective
// config, and generate docs/config/ and the JSON Schema from the same calls.
//
//   struct TrainSpec {
//     int64_t batch_size = 256;
//     OptimizerSpec optimizer;
//     void Describe(Fields* f) {
//       f->Int("batch_size", &batch_size, "Samples per step, over all workers.", Rule().Min(1));
//       f->Section("optimizer", &optimizer, "How values follow gradients.");
//       f->Require(batch_size < 1 << 20, "batch_size", "must be below 1048576");
//     }
//   };
//
// The value a field holds before Describe is its default. Thread-compatible.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace mariana {

// What a number may be, and whether the key must be present (a required text or path must not be
// empty either). Bounds are inclusive unless Above/Below set an open one; they hold for each
// element of a list of numbers, and for the number of elements of a list of structs.
struct Rule {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool min_open = false, max_open = false, required = false;
  Rule Min(double v) const {
    Rule r = *this;
    r.min = v;
    r.min_open = false;
    return r;
  }
  Rule Max(double v) const {
    Rule r = *this;
    r.max = v;
    r.max_open = false;
    return r;
  }
  Rule Above(double v) const {
    Rule r = *this;
    r.min = v;
    r.min_open = true;
    return r;
  }
  Rule Below(double v) const {
    Rule r = *this;
    r.max = v;
    r.max_open = true;
    return r;
  }
  Rule Required() const {
    Rule r = *this;
    r.required = true;
    return r;
  }
};

// kInput must exist when the config is read; kOutput need not, nor kPattern, which may name several
// files (*, ?, [], {a,b}) or standard input ("-"): who opens them looks. Relative paths are
// relative to the config file's folder (those given as overrides, and defaults: to the current
// folder);
// ${VAR} expands, $$ stands for $. What is read is absolute.
enum class PathKind { kInput, kOutput, kPattern };

class Fields;

// One row of a list of variants: `type: <name>` selects it.
template <class Base>
struct Variant {
  const char* type;
  const char* doc;
  std::unique_ptr<Base> (*make)();
};

class Fields {
 public:
  virtual ~Fields() = default;

  virtual void Int(const char* key, int64_t* value, const char* doc, Rule rule = {}) = 0;
  virtual void Real(const char* key, double* value, const char* doc, Rule rule = {}) = 0;
  virtual void Bool(const char* key, bool* value, const char* doc) = 0;
  virtual void Text(const char* key, std::string* value, const char* doc, Rule rule = {}) = 0;
  // An empty path is one not given.
  virtual void Path(const char* key, std::string* value, PathKind kind, const char* doc,
                    Rule rule = {}) = 0;
  // "512MB", "1.5 GiB" or a plain number of bytes.
  virtual void Bytes(const char* key, int64_t* value, const char* doc, Rule rule = {}) = 0;
  // "90s", "10min", "1.5h" or a plain number of seconds.
  virtual void Seconds(const char* key, double* value, const char* doc, Rule rule = {}) = 0;
  // The rule applies to each element; YAML may give a single scalar for a list of one.
  virtual void IntList(const char* key, std::vector<int64_t>* value, const char* doc,
                       Rule rule = {}) = 0;
  // A list, or one word that stands for the empty one.
  virtual void IntListOr(const char* key, std::vector<int64_t>* value, const char* word,
                         const char* doc, Rule rule = {}) = 0;
  virtual void RealList(const char* key, std::vector<double>* value, const char* doc,
                        Rule rule = {}) = 0;
  virtual void TextList(const char* key, std::vector<std::string>* value, const char* doc,
                        Rule rule = {}) = 0;

  // One of a few words: f->Choice("topology", &topology, {{"linear", kLinear}, ...}, "...").
  template <class E>
  void Choice(const char* key, E* value, const std::vector<std::pair<const char*, E>>& options,
              const char* doc) {
    std::vector<const char*> names;
    int chosen = 0;
    for (size_t i = 0; i < options.size(); ++i) {
      names.push_back(options[i].first);
      if (options[i].second == *value) chosen = static_cast<int>(i);
    }
    DoChoice(key, names, &chosen, doc);
    *value = options[static_cast<size_t>(chosen)].second;
  }

  // A nested struct with its own Describe.
  template <class T>
  void Section(const char* key, T* value, const char* doc) {
    DoSection(
        key, [value](Fields* f) { value->Describe(f); }, doc);
  }

  // A list of structs, each with its own Describe.
  template <class T>
  void List(const char* key, std::vector<T>* value, const char* doc, Rule rule = {}) {
    T prototype;
    DoList(
        key, value->size(), [value](size_t n) { value->resize(n); },
        [value](size_t i, Fields* f) { (*value)[i].Describe(f); },
        [&prototype](Fields* f) { prototype.Describe(f); }, doc, rule);
  }

  // A list of polymorphic structs chosen by their `type` key. Base has virtual Describe(Fields*)
  // and virtual const char* type() const. Visitors that document follow each type once, so a
  // variant may contain a list of the same variants (a residual block has layers).
  template <class Base>
  void Variants(const char* key, std::vector<std::unique_ptr<Base>>* value,
                const std::vector<Variant<Base>>& catalog, const char* doc, Rule rule = {}) {
    std::vector<VariantRow> rows;
    for (const auto& v : catalog) {
      auto make = v.make;
      rows.push_back({v.type, v.doc, [make](Fields* f) { make()->Describe(f); }});
    }
    DoVariants(
        key, rows, value->size(),
        // Elements are made in order: what was there before does not stay behind them.
        [value, &catalog](size_t i, size_t row) {
          value->resize(i + 1);
          (*value)[i] = catalog[row].make();
        },
        [value] { value->clear(); }, [value](size_t i) { return (*value)[i]->type(); },
        [value](size_t i, Fields* f) { (*value)[i]->Describe(f); }, doc, rule);
  }

  // A check between fields: reported at `key`'s place when `ok` is false. Only reading visitors
  // look at it, and only when the section had no mistake of its own so far.
  virtual void Require(bool ok, const char* key, const std::string& message) = 0;

 protected:
  struct VariantRow {
    const char* type;
    const char* doc;
    std::function<void(Fields*)> describe;  // describes a default-made instance
  };
  virtual void DoChoice(const char* key, const std::vector<const char*>& names, int* chosen,
                        const char* doc) = 0;
  virtual void DoSection(const char* key, const std::function<void(Fields*)>& describe,
                         const char* doc) = 0;
  virtual void DoList(const char* key, size_t size, const std::function<void(size_t)>& resize,
                      const std::function<void(size_t, Fields*)>& describe,
                      const std::function<void(Fields*)>& describe_prototype, const char* doc,
                      Rule rule) = 0;
  virtual void DoVariants(const char* key, const std::vector<VariantRow>& rows, size_t size,
                          const std::function<void(size_t, size_t)>& make,
                          const std::function<void()>& clear,
                          const std::function<const char*(size_t)>& type_of,
                          const std::function<void(size_t, Fields*)>& describe, const char* doc,
                          Rule rule) = 0;
};

}  // namespace mariana
