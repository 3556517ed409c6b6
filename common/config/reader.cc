#include "common/config/reader.h"

#include <glog/logging.h>

#include <algorithm>

#include "common/base/error.h"
#include "common/config/bounds.h"
#include "common/config/config.h"
#include "common/config/paths.h"
#include "common/config/scalars.h"

namespace mariana {
namespace {

// A parser that also checks the rule's bounds.
template <class T>
auto Bounded(std::string (*parse)(const Node&, T*), const Rule& rule) {
  return [parse, rule](const Node& node, T* value) {
    const std::string wrong = parse(node, value);
    return wrong.empty() ? CheckBounds(static_cast<double>(*value), rule) : wrong;
  };
}

auto NotEmptyIf(bool required) {
  return [required](const Node& node, std::string* value) {
    const std::string wrong = ParseText(node, value);
    return wrong.empty() && required && value->empty() ? "must not be empty" : wrong;
  };
}

}  // namespace

void Reader::Read(const Node& root, const std::function<void(Fields*)>& describe) {
  Scope scope;
  if (root.kind == Node::Kind::kMap) {
    scope.node = &root;
  } else if (root.kind != Node::Kind::kNull) {
    mistakes_->Add(root.place, "", "expected \"key: value\" lines, got " + Shown(root));
    scope.may_lack = true;
  }
  Describe(std::move(scope), describe);
  unknown_.Report(mistakes_);
}

const Place* Reader::OriginOf(const std::string& path) const {
  const auto found = origins_.find(path);
  return found == origins_.end() ? nullptr : &found->second;
}

void Reader::Describe(Scope scope, const std::function<void(Fields*)>& describe) {
  scope.mistakes_before = mistakes_->size();
  std::swap(scope, scope_);
  describe(this);
  unknown_.Compare(scope_.path, scope_.type, scope_.keys, scope_.node);
  std::swap(scope, scope_);
}

// ---- values -----------------------------------------------------------------

const Node* Reader::Take(const char* key, bool required, Place* key_place) {
  auto& keys = scope_.keys;
  CHECK(std::find(keys.begin(), keys.end(), key) == keys.end())
      << PathOf(key) << " is described twice";
  keys.push_back(key);
  if (scope_.node) {
    for (size_t i = 0; i < scope_.node->keys.size(); ++i) {
      if (scope_.node->keys[i] != key) continue;
      origins_[PathOf(key)] = scope_.node->items[i].place;
      if (key_place) *key_place = scope_.node->key_places[i];
      return &scope_.node->items[i];
    }
  }
  if (required && !scope_.may_lack) {
    mistakes_->Add(scope_.place, PathOf(key), "is missing; it has no default");
  }
  return nullptr;
}

template <class T, class Parse>
void Reader::Scalar(const char* key, T* value, bool required, const Parse& parse) {
  const Node* node = Take(key, required);
  if (!node) return;
  T parsed{};
  const std::string wrong = parse(*node, &parsed);
  if (wrong.empty()) {
    *value = std::move(parsed);
  } else {
    mistakes_->Add(node->place, PathOf(key), wrong);
  }
}

template <class T, class Parse>
void Reader::ScalarList(const char* key, std::vector<T>* value, bool required, const Parse& parse) {
  const Node* node = Take(key, required);
  if (!node) return;
  std::vector<T> parsed;
  const auto add = [&](const Node& item, const std::string& path) {
    T element{};
    const std::string wrong = parse(item, &element);
    if (!wrong.empty()) mistakes_->Add(item.place, path, wrong);
    parsed.push_back(std::move(element));
  };
  if (node->kind == Node::Kind::kScalar) {
    add(*node, PathOf(key));
  } else if (node->kind != Node::Kind::kList) {
    mistakes_->Add(node->place, PathOf(key), "expected a list, got " + Shown(*node));
  } else if (required && node->items.empty()) {
    mistakes_->Add(node->place, PathOf(key), "must not be empty");
  }
  if (node->kind == Node::Kind::kList) {
    for (size_t i = 0; i < node->items.size(); ++i) {
      add(node->items[i], JoinKeys(PathOf(key), std::to_string(i)));
    }
  }
  *value = std::move(parsed);
}

void Reader::Int(const char* key, int64_t* value, const char*, Rule rule) {
  Scalar(key, value, rule.required, Bounded(&ParseInt, rule));
}
void Reader::Real(const char* key, double* value, const char*, Rule rule) {
  Scalar(key, value, rule.required, Bounded(&ParseReal, rule));
}
void Reader::Bool(const char* key, bool* value, const char*) {
  Scalar(key, value, false, &ParseBool);
}
void Reader::Text(const char* key, std::string* value, const char*, Rule rule) {
  Scalar(key, value, rule.required, NotEmptyIf(rule.required));
}
void Reader::Bytes(const char* key, int64_t* value, const char*, Rule rule) {
  Scalar(key, value, rule.required, Bounded(&ParseBytes, rule));
}
void Reader::Seconds(const char* key, double* value, const char*, Rule rule) {
  Scalar(key, value, rule.required, Bounded(&ParseSeconds, rule));
}
void Reader::IntList(const char* key, std::vector<int64_t>* value, const char*, Rule rule) {
  ScalarList(key, value, rule.required, Bounded(&ParseInt, rule));
}
void Reader::IntListOr(const char* key, std::vector<int64_t>* value, const char* word, const char*,
                       Rule rule) {
  const Node* node = scope_.node ? scope_.node->Find(key) : nullptr;
  const bool is_word = node && node->kind == Node::Kind::kScalar && node->text == word;
  const auto parse = Bounded(&ParseInt, rule);
  ScalarList(key, value, rule.required, [&](const Node& item, int64_t* element) {
    const std::string wrong = parse(item, element);
    return wrong.empty() || is_word ? "" : StrCat(wrong, " (or the word ", word, " alone)");
  });
  if (is_word) value->clear();
}
void Reader::RealList(const char* key, std::vector<double>* value, const char*, Rule rule) {
  ScalarList(key, value, rule.required, Bounded(&ParseReal, rule));
}
void Reader::TextList(const char* key, std::vector<std::string>* value, const char*, Rule rule) {
  ScalarList(key, value, rule.required, &ParseText);
}

void Reader::Path(const char* key, std::string* value, PathKind kind, const char*, Rule rule) {
  const bool given = scope_.node && scope_.node->Find(key);
  Scalar(key, value, rule.required, [&](const Node& node, std::string* path) {
    const int source = node.place.source;
    const std::string folder = source > 0 ? "" : folders_[static_cast<size_t>(-source)];
    const std::string wrong = ParsePath(node, folder, kind, path);
    return wrong.empty() && rule.required && path->empty() ? "must not be empty" : wrong;
  });
  if (given) return;
  const std::string wrong = ResolvePath(*value, "", kind, value);
  if (!wrong.empty()) mistakes_->Add(scope_.place, PathOf(key), wrong);
}

void Reader::DoChoice(const char* key, const std::vector<const char*>& names, int* chosen,
                      const char*) {
  Scalar(key, chosen, false, [&](const Node& node, int* index) -> std::string {
    const std::vector<std::string> words(names.begin(), names.end());
    std::string word;
    if (node.kind != Node::Kind::kScalar) return "expected a word, got " + Shown(node);
    const auto found = std::find(words.begin(), words.end(), node.text);
    *index = static_cast<int>(found - words.begin());
    if (found != words.end()) return "";
    const std::string near = DidYouMean(node.text, words);
    return StrCat("is ", Shown(node), "; must be one of ", Listed(words),
                  near.empty() ? "" : "; did you mean \"" + near + "\"?");
  });
}

void Reader::Require(bool ok, const char* key, const std::string& message) {
  if (ok || scope_.may_lack || mistakes_->size() != scope_.mistakes_before) return;
  const Node* node = scope_.node ? scope_.node->Find(key) : nullptr;
  mistakes_->Add(node ? node->place : scope_.place, PathOf(key), message);
}

// ---- sections and lists -------------------------------------------------------

void Reader::DoSection(const char* key, const std::function<void(Fields*)>& describe, const char*) {
  Scope scope;
  scope.place = scope_.place;
  scope.may_lack = scope_.may_lack;
  Place place;
  const Node* node = Take(key, false, &place);
  if (node && place.source <= 0) scope.place = place;
  scope.path = PathOf(key);
  if (node && node->kind == Node::Kind::kMap) {
    scope.node = node;
  } else if (node && node->kind != Node::Kind::kNull) {
    mistakes_->Add(node->place, PathOf(key), "expected a section, got " + Shown(*node));
    scope.may_lack = true;
  }
  Describe(std::move(scope), describe);
}

// The elements of a list of structs, or null where the defaults stay.
const std::vector<Node>* Reader::TakeItems(const char* key, const char* what, Rule rule,
                                           size_t default_size) {
  Place place = scope_.place;
  const Node* node = Take(key, rule.required, &place);
  if (node && node->kind != Node::Kind::kList) {
    mistakes_->Add(node->place, PathOf(key), StrCat("expected ", what, ", got ", Shown(*node)));
    return nullptr;
  }
  const size_t size = node ? node->items.size() : default_size;
  const std::string wrong = CheckBounds(static_cast<double>(size), rule);
  if (!wrong.empty() && (node || !(rule.required || scope_.may_lack))) {
    mistakes_->Add(place, PathOf(key), "the number of elements " + wrong);
  }
  return node ? &node->items : nullptr;
}

Reader::Scope Reader::ElementScope(const std::string& path, const Node* node) const {
  Scope scope;
  scope.path = path;
  scope.node = node;
  scope.place = node ? node->place : scope_.place;
  scope.may_lack = node == nullptr;
  return scope;
}

void Reader::DoList(const char* key, size_t size, const std::function<void(size_t)>& resize,
                    const std::function<void(size_t, Fields*)>& describe,
                    const std::function<void(Fields*)>&, const char*, Rule rule) {
  const std::vector<Node>* items = TakeItems(key, "a list of sections", rule, size);
  if (items) {
    size = items->size();
    resize(0);  // defaults of the list are no defaults of its new elements
    resize(size);
  }
  for (size_t i = 0; i < size; ++i) {
    const std::string path = JoinKeys(PathOf(key), std::to_string(i));
    const Node* node = items ? &(*items)[i] : nullptr;
    if (node && node->kind != Node::Kind::kMap) {
      mistakes_->Add(node->place, path, "expected a section, got " + Shown(*node));
      node = nullptr;
    }
    Describe(ElementScope(path, node), [&](Fields* f) { describe(i, f); });
  }
}

// The row that the `type` key of an element names, or -1 after a mistake.
int Reader::TypeOf(const std::string& path, const Node& node, const std::vector<VariantRow>& rows) {
  std::vector<std::string> types;
  for (const VariantRow& row : rows) types.push_back(row.type);
  if (node.kind != Node::Kind::kMap) {
    const bool is_type = std::find(types.begin(), types.end(), node.text) != types.end();
    mistakes_->Add(node.place, path,
                   StrCat("expected a section with a type, got ", Shown(node),
                          is_type ? "; write {type: " + node.text + "}" : ""));
    return -1;
  }
  const Node* type = node.Find("type");
  if (!type) {
    mistakes_->Add(node.place, path, "has no type; types are " + Listed(types));
    return -1;
  }
  origins_[path + ".type"] = type->place;
  const auto found = std::find(types.begin(), types.end(), type->text);
  if (found != types.end()) return static_cast<int>(found - types.begin());
  const std::string near = DidYouMean(type->text, types);
  mistakes_->Add(type->place, path + ".type",
                 near.empty()
                     ? StrCat("unknown type ", Shown(*type), "; types are ", Listed(types))
                     : StrCat("unknown type ", Shown(*type), "; did you mean \"", near, "\"?"));
  return -1;
}

void Reader::DoVariants(const char* key, const std::vector<VariantRow>& rows, size_t size,
                        const std::function<void(size_t, size_t)>& make,
                        const std::function<void()>& clear,
                        const std::function<const char*(size_t)>& type_of,
                        const std::function<void(size_t, Fields*)>& describe, const char*,
                        Rule rule) {
  const std::vector<Node>* items = TakeItems(key, "a list of sections with a type", rule, size);
  if (items) clear();
  size_t made = 0;  // elements that are wrong are left out, none is ever null
  for (size_t i = 0; i < (items ? items->size() : size); ++i) {
    const std::string path = JoinKeys(PathOf(key), std::to_string(i));
    const Node* node = items ? &(*items)[i] : nullptr;
    if (node) {
      const int row = TypeOf(path, *node, rows);
      if (row < 0) continue;
      make(made, static_cast<size_t>(row));
    }
    const size_t element = made++;
    Scope scope = ElementScope(path, node);
    scope.keys.push_back("type");
    scope.type = type_of(element);
    Describe(std::move(scope), [&](Fields* f) { describe(element, f); });
  }
}

}  // namespace mariana
