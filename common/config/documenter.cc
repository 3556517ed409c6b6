// DocumentConfig: the Fields visitor behind docs/config.
#include <set>

#include "common/base/error.h"
#include "common/config/bounds.h"
#include "common/config/config.h"
#include "common/config/node.h"
#include "common/config/printer.h"
#include "common/config/scalars.h"

namespace mariana {
namespace {

constexpr char kPreface[] =
    "This page is generated from the field declarations in the sources.\n"
    "\n"
    "A config is YAML: anchors, aliases and `<<` merges work, and keys `x-...` at the top hold\n"
    "anchors for use elsewhere. Every key may also be given on the command line as\n"
    "`key.path=value`, a list element by its index (`net.layers.0.units=512`), and wins over the\n"
    "file. Numbers are plain decimals without leading zeros, separators or quotes; booleans are\n"
    "`true` and `false`. Bytes take a unit (B, kB, MB, GB, TB, KiB, MiB, GiB, TiB), and so do\n"
    "seconds (ms, s, min, h, d). A relative path is relative to the config file's folder, or to\n"
    "the current one on the command line; `${VAR}` expands in paths, and `$$` stands for `$`.\n"
    "A list of numbers or texts with one element may be written without brackets.\n"
    "`include: FILE` in a section brings in the keys of another YAML file; keys beside it win.\n";

constexpr char kTableHead[] = "| key | type | default | range | meaning |\n|---|---|---|---|---|\n";

std::string Cell(const std::string& text) {
  std::string cell;
  for (const char c : text) cell += c == '|' ? std::string("\\|") : std::string(1, c);
  return cell;
}

std::string Code(const std::string& text) { return text.empty() ? "" : "`" + Cell(text) + "`"; }

class Documenter final : public Fields {
 public:
  std::string Page(const std::string& title, const std::function<void(Fields*)>& describe) {
    return StrCat("# ", title, "\n\n", kPreface, "\n", Chapter("", describe));
  }

  void Int(const char* key, int64_t* value, const char* doc, Rule rule) override {
    Row(
        key, "whole number", [&](Fields* f) { f->Int(key, value, doc, rule); }, doc, rule);
  }
  void Real(const char* key, double* value, const char* doc, Rule rule) override {
    Row(
        key, "number", [&](Fields* f) { f->Real(key, value, doc, rule); }, doc, rule);
  }
  void Bool(const char* key, bool* value, const char* doc) override {
    Row(key, "true or false", [&](Fields* f) { f->Bool(key, value, doc); }, doc, {});
  }
  void Text(const char* key, std::string* value, const char* doc, Rule rule) override {
    Row(
        key, "text", [&](Fields* f) { f->Text(key, value, doc, rule); }, doc, rule);
  }
  void Path(const char* key, std::string* value, PathKind kind, const char* doc,
            Rule rule) override {
    const char* type = kind == PathKind::kInput     ? "path, must exist"
                       : kind == PathKind::kPattern ? "path, may name several files by *, ?, {a,b}"
                                                    : "path";
    Row(
        key, type, [&](Fields* f) { f->Path(key, value, kind, doc, rule); }, doc, rule);
  }
  void Bytes(const char* key, int64_t* value, const char* doc, Rule rule) override {
    Row(
        key, "bytes", [&](Fields* f) { f->Bytes(key, value, doc, rule); }, doc, rule);
  }
  void Seconds(const char* key, double* value, const char* doc, Rule rule) override {
    Row(
        key, "seconds", [&](Fields* f) { f->Seconds(key, value, doc, rule); }, doc, rule);
  }
  void IntList(const char* key, std::vector<int64_t>* value, const char* doc, Rule rule) override {
    Row(
        key, "list of whole numbers", [&](Fields* f) { f->IntList(key, value, doc, rule); }, doc,
        rule);
  }
  void IntListOr(const char* key, std::vector<int64_t>* value, const char* word, const char* doc,
                 Rule rule) override {
    const std::string type = StrCat("list of whole numbers, or ", Code(word));
    Row(
        key, type.c_str(), [&](Fields* f) { f->IntListOr(key, value, word, doc, rule); }, doc,
        rule);
  }
  void RealList(const char* key, std::vector<double>* value, const char* doc, Rule rule) override {
    Row(
        key, "list of numbers", [&](Fields* f) { f->RealList(key, value, doc, rule); }, doc, rule);
  }
  void TextList(const char* key, std::vector<std::string>* value, const char* doc,
                Rule rule) override {
    Row(
        key, "list of texts", [&](Fields* f) { f->TextList(key, value, doc, rule); }, doc, rule);
  }
  void Require(bool, const char*, const std::string&) override {}

 protected:
  void DoChoice(const char* key, const std::vector<const char*>& names, int* chosen,
                const char* doc) override {
    std::string words;
    for (const char* name : names) words += (words.empty() ? "" : ", ") + Code(name);
    RawRow(key, "word", Code(names[static_cast<size_t>(*chosen)]), words, doc);
  }

  void DoSection(const char* key, const std::function<void(Fields*)>& describe,
                 const char* doc) override {
    RawRow(key, "section", "", "", doc);
    AddChapter(JoinKeys(path_, key), "", doc, describe);
  }

  void DoList(const char* key, size_t, const std::function<void(size_t)>&,
              const std::function<void(size_t, Fields*)>&,
              const std::function<void(Fields*)>& describe_prototype, const char* doc,
              Rule rule) override {
    RawRow(key, "list of sections", Required(rule), BoundsOfSize(rule), doc);
    AddChapter(JoinKeys(path_, key) + "[]", "", doc, describe_prototype);
  }

  void DoVariants(const char* key, const std::vector<VariantRow>& rows, size_t,
                  const std::function<void(size_t, size_t)>&, const std::function<void()>&,
                  const std::function<const char*(size_t)>&,
                  const std::function<void(size_t, Fields*)>&, const char* doc,
                  Rule rule) override {
    std::string types, catalog;
    for (const VariantRow& row : rows) {
      types += (types.empty() ? "" : ", ") + Code(row.type);
      catalog += StrCat(row.type, "\n", row.doc, "\n");
    }
    RawRow(key, "list by `type`: " + types, Required(rule), BoundsOfSize(rule), doc);
    if (!catalogs_.insert(catalog).second) return;  // the types have their chapters
    for (const VariantRow& row : rows) {
      AddChapter(JoinKeys(path_, key) + "[]", row.type, row.doc, row.describe);
    }
  }

 private:
  static std::string Required(const Rule& rule) { return rule.required ? "required" : ""; }
  static std::string BoundsOfSize(const Rule& rule) {
    const std::string bounds = BoundsInWords(rule);
    return bounds.empty() ? "" : bounds + " of them";
  }

  // The default as YAML writes it.
  template <class Describe>
  void Row(const char* key, const char* type, const Describe& describe, const char* doc,
           const Rule& rule) {
    Printer printer(nullptr);
    describe(&printer);
    const size_t start = std::string(key).size() + 2;  // "key: value\n"
    const std::string value = printer.text().substr(start, printer.text().size() - start - 1);
    RawRow(key, type, rule.required ? "required" : Code(value), BoundsInWords(rule), doc);
  }

  void RawRow(const char* key, const std::string& type, const std::string& initial,
              const std::string& range, const char* doc) {
    rows_ +=
        StrCat("| `", key, "` | ", type, " | ", initial, " | ", range, " | ", Cell(doc), " |\n");
  }

  // A table, then the chapters of what it holds.
  std::string Chapter(const std::string& path, const std::function<void(Fields*)>& describe) {
    std::string rows, chapters, own_path = path;
    std::swap(rows, rows_);
    std::swap(chapters, chapters_);
    std::swap(own_path, path_);
    describe(this);
    std::swap(rows, rows_);
    std::swap(chapters, chapters_);
    std::swap(own_path, path_);
    return (rows.empty() ? "No keys of its own.\n" : kTableHead + rows) + chapters;
  }

  void AddChapter(const std::string& path, const std::string& type, const char* doc,
                  const std::function<void(Fields*)>& describe) {
    const std::string chapter = Chapter(path, describe);
    chapters_ += StrCat("\n## `", path, "`", type.empty() ? "" : " of type `" + type + "`", "\n\n",
                        doc, "\n\n", chapter);
  }

  std::string rows_, chapters_, path_;
  std::set<std::string> catalogs_;
};

}  // namespace

std::string DocumentConfig(const std::string& title, const std::function<void(Fields*)>& describe) {
  return Documenter().Page(title, describe);
}

}  // namespace mariana
