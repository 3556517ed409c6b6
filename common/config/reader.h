// Reader: the Fields visitor that fills a described struct from a Node tree, and notes every
// mistake on the way. Thread-compatible.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/config/fields.h"
#include "common/config/mistakes.h"
#include "common/config/unknown_keys.h"

namespace mariana {

class Reader final : public Fields {
 public:
  // `folders[i]` is that of the file of places with source -i; `override_paths[i]` is the path that
  // override i + 1 sets.
  Reader(std::vector<std::string> folders, std::vector<std::string> override_paths,
         Mistakes* mistakes)
      : folders_(std::move(folders)), mistakes_(mistakes), unknown_(std::move(override_paths)) {}

  void Read(const Node& root, const std::function<void(Fields*)>& describe);

  // Where the value at a dotted path was written; null where it is the default.
  const Place* OriginOf(const std::string& path) const;

  void Int(const char* key, int64_t* value, const char* doc, Rule rule) override;
  void Real(const char* key, double* value, const char* doc, Rule rule) override;
  void Bool(const char* key, bool* value, const char* doc) override;
  void Text(const char* key, std::string* value, const char* doc, Rule rule) override;
  void Path(const char* key, std::string* value, PathKind kind, const char* doc,
            Rule rule) override;
  void Bytes(const char* key, int64_t* value, const char* doc, Rule rule) override;
  void Seconds(const char* key, double* value, const char* doc, Rule rule) override;
  void IntList(const char* key, std::vector<int64_t>* value, const char* doc, Rule rule) override;
  void IntListOr(const char* key, std::vector<int64_t>* value, const char* word, const char* doc,
                 Rule rule) override;
  void RealList(const char* key, std::vector<double>* value, const char* doc, Rule rule) override;
  void TextList(const char* key, std::vector<std::string>* value, const char* doc,
                Rule rule) override;
  void Require(bool ok, const char* key, const std::string& message) override;

 protected:
  void DoChoice(const char* key, const std::vector<const char*>& names, int* chosen,
                const char* doc) override;
  void DoSection(const char* key, const std::function<void(Fields*)>& describe,
                 const char* doc) override;
  void DoList(const char* key, size_t size, const std::function<void(size_t)>& resize,
              const std::function<void(size_t, Fields*)>& describe,
              const std::function<void(Fields*)>& describe_prototype, const char* doc,
              Rule rule) override;
  void DoVariants(const char* key, const std::vector<VariantRow>& rows, size_t size,
                  const std::function<void(size_t, size_t)>& make,
                  const std::function<void()>& clear,
                  const std::function<const char*(size_t)>& type_of,
                  const std::function<void(size_t, Fields*)>& describe, const char* doc,
                  Rule rule) override;

 private:
  // The section that is being described.
  struct Scope {
    const Node* node = nullptr;  // a map; null: not there
    std::string path;
    Place place;                    // where to say that a key is missing
    bool may_lack = false;          // its keys are not missed: the mistake is said already
    std::string type;               // of a variant
    std::vector<std::string> keys;  // described so far
    size_t mistakes_before = 0;
  };
  void Describe(Scope scope, const std::function<void(Fields*)>& describe);
  Scope ElementScope(const std::string& path, const Node* node) const;
  const Node* Take(const char* key, bool required, Place* key_place = nullptr);
  template <class T, class Parse>
  void Scalar(const char* key, T* value, bool required, const Parse& parse);
  template <class T, class Parse>
  void ScalarList(const char* key, std::vector<T>* value, bool required, const Parse& parse);
  const std::vector<Node>* TakeItems(const char* key, const char* what, Rule rule,
                                     size_t default_size);
  int TypeOf(const std::string& path, const Node& node, const std::vector<VariantRow>& rows);
  std::string PathOf(const char* key) const { return JoinKeys(scope_.path, key); }

  const std::vector<std::string> folders_;
  Mistakes* mistakes_;
  Scope scope_;
  std::map<std::string, Place> origins_;
  UnknownKeys unknown_;
};

}  // namespace mariana
