#include "common/train/safetensors_header.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <unordered_set>

#include "common/base/error.h"

namespace mariana {
namespace {

using Json = nlohmann::json;
using Entry = SafetensorsFile::Entry;

constexpr size_t kMaxTensors = 100'000;
constexpr size_t kMaxRank = 32;
constexpr char kMetadataKey[] = "__metadata__";

using Stored = SafetensorsFile::Stored;

struct DtypeName {
  const char* name;
  Dtype dtype;
  Stored stored = Stored::kAsRead;
};
// Those that we write come first.
constexpr DtypeName kDtypes[] = {{"F32", Dtype::kF32},
                                 {"BF16", Dtype::kBF16},
                                 {"I32", Dtype::kI32},
                                 {"I64", Dtype::kI64},
                                 {"U8", Dtype::kU8},
                                 {"F16", Dtype::kF32, Stored::kF16},
                                 {"F64", Dtype::kF32, Stored::kF64}};

std::string Quote(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// A name for a message: quoted, control characters escaped, not longer than a line.
std::string Shown(const std::string& name) {
  return Quote(name.size() <= 80 ? name : name.substr(0, 77) + "...");
}

// Receives the JSON as events, so that a hostile header cannot make a deep or wide document.
// depth 1: {name: ...}; depth 2: a tensor's fields or the metadata; in a list at depth 3.
class HeaderEvents : public Json::json_sax_t {
 public:
  HeaderEvents(const std::string& file, SafetensorsHeader* header) : file_(file), out_(header) {}

  bool null() override { return Refuse("null"); }
  bool boolean(bool) override { return Refuse("a boolean"); }
  bool number_float(number_float_t, const string_t& text) override { return Refuse(text); }
  bool binary(binary_t&) override { return Refuse("binary"); }
  bool number_integer(number_integer_t v) override { return Refuse(std::to_string(v)); }
  bool number_unsigned(number_unsigned_t v) override {
    if (depth_ != 3) return Refuse(std::to_string(v));
    if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      throw Bad(field_, " holds ", v, ", which is too large");
    }
    if (numbers_.size() == kMaxRank) throw Bad(field_, " is longer than ", kMaxRank);
    numbers_.push_back(static_cast<int64_t>(v));
    return true;
  }
  bool string(string_t& text) override {
    if (depth_ == 2 && in_metadata_) {
      out_->metadata[field_] = std::move(text);
    } else if (depth_ == 2 && field_ == "dtype") {
      const DtypeName& type = ParseDtype(text);
      out_->tensors.back().dtype = type.dtype;
      out_->tensors.back().stored = type.stored;
    } else {
      return Refuse("a text");
    }
    return true;
  }
  bool start_object(size_t) override {
    if (depth_ >= 2) return Refuse("an object");
    if (++depth_ == 1 || in_metadata_) return true;
    if (out_->tensors.size() == kMaxTensors) {
      throw Fail(ExitCode::kBadData, file_, ": more than ", kMaxTensors, " tensors");
    }
    out_->tensors.push_back({name_, Dtype::kF32, Shape(), 0, 0});
    return true;
  }
  bool key(string_t& text) override {
    if (depth_ == 1) {
      if (!names_.insert(text).second) {
        throw Fail(ExitCode::kBadData, file_, ": tensor ", Shown(text), ": is there twice");
      }
      name_ = std::move(text);
      in_metadata_ = name_ == kMetadataKey;
      fields_.clear();
      return true;
    }
    if (!in_metadata_ && text != "dtype" && text != "shape" && text != "data_offsets") {
      throw Bad("unknown field ", Shown(text), " (dtype, shape and data_offsets are known)");
    }
    if (!fields_.insert(text).second) throw Bad(Shown(text), " is there twice");
    if (fields_.size() > kMaxTensors) throw Bad("more than ", kMaxTensors, " entries");
    field_ = std::move(text);
    return true;
  }
  bool end_object() override {
    if (depth_-- == 2 && !in_metadata_ && fields_.size() != 3) {
      for (const char* field : {"dtype", "shape", "data_offsets"}) {
        if (fields_.count(field) == 0) throw Bad(field, " is missing");
      }
    }
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || field_ == "dtype") return Refuse("a list");
    depth_ = 3;
    numbers_.clear();
    return true;
  }
  bool end_array() override {
    depth_ = 2;
    Entry& entry = out_->tensors.back();
    if (field_ == "shape") {
      entry.shape = Shape(numbers_);
    } else {
      if (numbers_.size() != 2 || numbers_[0] > numbers_[1]) {
        throw Bad("data_offsets must be [begin, end] with begin <= end");
      }
      entry.offset = numbers_[0];
      entry.bytes = numbers_[1] - numbers_[0];
    }
    return true;
  }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    throw Fail(ExitCode::kBadData, file_, ": the header is not JSON from its byte ", position,
               " on");
  }

 private:
  template <class... Args>
  Error Bad(const Args&... what) const {
    return Fail(ExitCode::kBadData, file_, in_metadata_ ? ": " : ": tensor ", Shown(name_), ": ",
                what...);
  }
  bool Refuse(const std::string& what) const {
    if (depth_ == 0) throw Fail(ExitCode::kBadData, file_, ": the header must be an object");
    if (depth_ == 1) throw Bad("must be an object, not ", what);
    throw Bad(Shown(field_), " cannot be ", what, depth_ == 3 ? ", nor hold it" : "");
  }
  const DtypeName& ParseDtype(const std::string& text) const {
    for (const DtypeName& d : kDtypes) {
      if (text == d.name) return d;
    }
    throw Bad("dtype ", Shown(text), " is not one of F64, F32, F16, BF16, I64, I32, U8");
  }

  const std::string& file_;
  SafetensorsHeader* out_;
  int depth_ = 0;
  bool in_metadata_ = false;
  std::string name_, field_;
  std::vector<int64_t> numbers_;
  std::unordered_set<std::string> names_;
  std::set<std::string> fields_;
};

// shape * width in the file, or -1 when it does not fit in 63 bits.
int64_t BytesOf(const Entry& entry) {
  int64_t bytes = entry.stored == Stored::kF16   ? 2
                  : entry.stored == Stored::kF64 ? 8
                                                 : SizeOf(entry.dtype);
  for (const int64_t extent : entry.shape.dims()) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) return -1;
  }
  return bytes;
}

void CheckLayout(const std::vector<Entry>& tensors, int64_t data_bytes, const std::string& file) {
  int64_t end = 0;
  for (const Entry& t : tensors) {
    const auto bad = [&](const auto&... what) {
      return Fail(ExitCode::kBadData, file, ": tensor ", Shown(t.name), ": ", what...);
    };
    const int64_t bytes = BytesOf(t);
    if (bytes < 0) throw bad("shape ", t.shape.ToString(), " is too large");
    if (t.bytes != bytes) {
      throw bad("shape ", t.shape.ToString(), " takes ", bytes, " bytes, data_offsets give ",
                t.bytes);
    }
    if (t.bytes > data_bytes || t.offset > data_bytes - t.bytes) {
      throw bad("ends at byte ", t.offset + t.bytes, " of ", data_bytes, ": the file is truncated");
    }
    if (t.offset < end) throw bad("overlaps another tensor");
    if (t.offset > end) throw bad(t.offset - end, " bytes before it belong to no tensor");
    end += t.bytes;
  }
  if (end != data_bytes) {
    throw Fail(ExitCode::kBadData, file, ": ", data_bytes - end,
               " bytes at the end belong to no tensor");
  }
}

}  // namespace

SafetensorsHeader ParseSafetensorsHeader(std::string_view json, int64_t data_bytes,
                                         const std::string& file) {
  SafetensorsHeader header;
  HeaderEvents events(file, &header);
  Json::sax_parse(json, &events);
  std::stable_sort(header.tensors.begin(), header.tensors.end(),
                   [](const Entry& a, const Entry& b) {
                     return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
                   });
  CheckLayout(header.tensors, data_bytes, file);
  return header;
}

std::string PrintSafetensorsHeader(const SafetensorsHeader& header) {
  std::string text = "{";
  const auto separate = [&] { text += text.size() > 1 ? "," : ""; };
  if (!header.metadata.empty()) {
    const Json metadata = header.metadata;
    text +=
        Quote(kMetadataKey) + ":" + metadata.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  std::unordered_set<std::string> names = {kMetadataKey};
  for (const Entry& t : header.tensors) {
    CHECK(names.insert(t.name).second) << "tensor " << Shown(t.name) << " twice";
    const auto dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                    [&](const DtypeName& d) { return d.dtype == t.dtype; });
    separate();
    text += StrCat(Quote(t.name), ":{\"dtype\":\"", dtype->name,
                   "\",\"shape\":", Json(t.shape.dims()).dump(), ",\"data_offsets\":[", t.offset,
                   ",", t.offset + t.bytes, "]}");
  }
  text += "}";
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace mariana
