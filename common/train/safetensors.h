// Safetensors: the model file format of Hugging Face's safetensors library
// (https://github.com/huggingface/safetensors#format): 8 bytes of header length (little-endian),
// a JSON header {"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {text: text}}, then
// the tensors' bytes, row-major, with no hole and no overlap.
//
// F16 and F64, which other tools write, are read as f32.
//
// The reader trusts nothing: every mistake throws Error(kBadData) `file: tensor "x": what`.
// Thread-safety: free functions share no state; SafetensorsFile's const methods may be called
// from several threads.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/base/files.h"
#include "common/base/shape.h"

namespace mariana {

// A named tensor in host memory, row-major, in the plain layout of checkpoints.
struct HostTensor {
  std::string name;
  Dtype dtype = Dtype::kF32;
  Shape shape;
  std::vector<char> bytes;  // shape.elements() * SizeOf(dtype)

  // A copy of shape.elements() floats.
  static HostTensor F32(std::string name, Shape shape, const float* values);
  float* f32();  // CHECKs the dtype
  const float* f32() const;
};

using Metadata = std::map<std::string, std::string>;

// Streams a safetensors file into `out`; the caller calls out->Finish(). The header is padded to
// 8 bytes with spaces, wider types come first, so every tensor is aligned to its type. Names
// must be unique and not "__metadata__" (CHECK).
void WriteSafetensors(FileWriter* out, const std::vector<HostTensor>& tensors,
                      const Metadata& metadata);
// How many bytes WriteSafetensors will append.
int64_t SafetensorsBytes(const std::vector<HostTensor>& tensors, const Metadata& metadata);

class SafetensorsFile {
 public:
  enum class Stored : uint8_t { kAsRead, kF16, kF64 };
  struct Entry {
    std::string name;
    Dtype dtype;  // of what Read gives
    Shape shape;
    int64_t offset;  // from the first byte after the header
    int64_t bytes;   // in the file
    Stored stored = Stored::kAsRead;
  };

  // Reads and validates the header; tensors' bytes are read on demand.
  explicit SafetensorsFile(const std::string& path);
  // The same over bytes in memory, which must outlive this; `name` stands for the file.
  static SafetensorsFile FromMemory(std::string_view contents, const std::string& name);

  const std::string& path() const { return path_; }
  const Metadata& metadata() const { return metadata_; }
  const std::vector<Entry>& tensors() const { return tensors_; }  // by offset
  const Entry* Find(const std::string& name) const;               // nullptr if absent
  HostTensor Read(const std::string& name) const;                 // absent: kBadData
  std::vector<HostTensor> ReadAll() const;
  // Bytes [offset, offset + bytes) of a tensor of this file.
  void ReadBytes(const Entry& entry, int64_t offset, int64_t bytes, char* to) const;

 private:
  class Source;
  SafetensorsFile(const std::string& path, std::shared_ptr<const Source> source);
  HostTensor Read(const Entry& entry) const;

  std::string path_;
  std::shared_ptr<const Source> source_;
  int64_t data_begin_ = 0;  // file offset of the first byte after the header
  Metadata metadata_;
  std::vector<Entry> tensors_;
  std::unordered_map<std::string, size_t> index_;  // name -> position in tensors_
};

}  // namespace mariana
