// Printer: the Fields visitor that writes a described struct as YAML that reads back the same.
// Thread-compatible.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/config/fields.h"

namespace mariana {

class Printer final : public Fields {
 public:
  // `origin` gives the comment for the value at a dotted path; null: no comments.
  explicit Printer(std::function<std::string(const std::string&)> origin)
      : origin_(std::move(origin)) {}

  const std::string& text() const { return text_; }

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
  void Require(bool, const char*, const std::string&) override {}

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
  void Line(const std::string& key, const std::string& value);
  // "key:" and what `body` writes below it, or "key: empty" if it writes nothing.
  void Block(const std::string& key, const char* empty, const std::function<void()>& body);
  void Element(size_t i, const std::function<void()>& body);

  std::function<std::string(const std::string&)> origin_;
  std::string text_;
  std::string path_;
  size_t indent_ = 0;
  bool dash_ = false;  // the next line opens a list element
};

// A scalar that reads back as this text: plain where that is safe, else in double quotes.
std::string QuoteYaml(const std::string& text);

}  // namespace mariana
