// Kaldi's files: script files (scp), archives (ark), matrices, vectors and integer vectors, binary
// and text. Format: Povey et al., "The Kaldi speech recognition toolkit", ASRU 2011, and
// kaldi-asr.org/doc/io.html; compressed matrices as in its compressed-matrix.h.
//
// Every length is checked against the bytes left and a sane limit before memory is taken. Broken
// data throws Error(kBadData) `<file>: utterance "<key>": <what>`.
// Threading: functions are thread-safe, ArkReader and ArkWriter belong to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/files.h"
#include "common/data/byte_source.h"

namespace mariana {

// Row-major.
template <class T>
struct MatrixOf {
  int32_t rows = 0, cols = 0;
  std::vector<T> data;
  T* row(int64_t i) { return data.data() + i * cols; }
  const T* row(int64_t i) const { return data.data() + i * cols; }
};
using Matrix = MatrixOf<float>;

struct MatrixSize {
  int32_t rows = 0, cols = 0;
};

// ---- values: the bytes after a key and its space, or after an scp's offset ----------------------
// These throw Error without a place; the readers below add file and utterance.

// T is float or double. Takes FM, DM, CM, CM2, CM3 and text `[ 1 2 \n 3 4 ]`.
template <class T>
MatrixOf<T> ReadMatrixValue(ByteSource* in);
// Reads the header (all of it, for text) and checks that what it announces is there.
MatrixSize ReadMatrixSizeValue(ByteSource* in);
std::vector<int32_t> ReadIntVectorValue(ByteSource* in);
// FV, DV and text `[ 1 2 ]`.
std::vector<float> ReadFloatVectorValue(ByteSource* in);

// ---- scp ------------------------------------------------------------------------------------

// `key path`, `key path:offset`, `key path:offset[first:last]` or `key command |`.
struct ScpEntry {
  std::string key;
  std::string path;       // resolved; the command where is_command
  int64_t offset = -1;    // -1: the whole file
  int32_t first_row = 0;  // [first:last], both inclusive as in Kaldi
  int32_t last_row = -1;  // -1: to the end
  bool is_command = false;
  int line = 0;                 // from 1
  std::string rspecifier_file;  // the scp itself
};

// Relative paths are tried from the current folder (as Kaldi does), then from the scp's folder.
// Commands are refused unless allow_pipes. The scp may be gzipped.
std::vector<ScpEntry> ReadScp(const std::string& path, bool allow_pipes = false);
// The same from `in`; `name` stands for the file.
std::vector<ScpEntry> ParseScp(ByteSource* in, const std::string& name, bool allow_pipes);

// `key value` lines (utt2spk, utt2num_frames, text), in file order; the value may hold spaces.
std::vector<std::pair<std::string, std::string>> ReadTable(const std::string& path);

std::unique_ptr<ByteSource> OpenEntry(const ScpEntry& entry);
Matrix ReadMatrix(const ScpEntry& entry);
MatrixOf<double> ReadDoubleMatrix(const ScpEntry& entry);
MatrixSize ReadMatrixSize(const ScpEntry& entry);
std::vector<int32_t> ReadIntVector(const ScpEntry& entry);
std::vector<float> ReadFloatVector(const ScpEntry& entry);

// ---- ark ------------------------------------------------------------------------------------

// Iterates over an archive: while (NextKey()) then exactly one Read of the value.
class ArkReader {
 public:
  explicit ArkReader(const std::string& path);  // may be gzipped
  ArkReader(std::unique_ptr<ByteSource> in, std::string name);

  bool NextKey();  // false at the end
  const std::string& key() const { return key_; }
  // Offset of the current value, as an scp gives it.
  int64_t offset() const { return offset_; }
  // Whether offset() is one in the file itself (false for gzipped archives).
  bool seekable() const { return in_->remaining() >= 0; }

  Matrix ReadMatrix();
  std::vector<int32_t> ReadIntVector();
  std::vector<float> ReadFloatVector();
  // After a Read of a vector threw: goes to the end of its line. False where the value is binary:
  // nothing after it can be found.
  bool SkipLine();

 private:
  template <class Read>
  auto Named(Read read);

  std::unique_ptr<ByteSource> in_;
  std::string name_, key_;
  int64_t offset_ = 0;
  bool text_ = false;  // the value
};

// Writes a binary archive and, with a scp_path, its scp with `key ark_path:offset` lines.
class ArkWriter {
 public:
  explicit ArkWriter(const std::string& ark_path, const std::string& scp_path = "");
  void Write(const std::string& key, const Matrix& value);
  void Write(const std::string& key, const float* data, int32_t rows, int32_t cols);
  void Write(const std::string& key, const std::vector<int32_t>& value);
  void Finish();  // durable; without it the destructor removes the files

 private:
  void StartValue(const std::string& key);

  std::string ark_path_;
  FileWriter ark_;
  std::unique_ptr<FileWriter> scp_;
};

// Walks over the integer vectors of an archive (binary or text, gzipped or not) or, where the name
// ends in .scp, of the entries it lists. `entry` says where the value can be read again; its path
// is empty where it cannot (gzipped archives). A broken value or archive is reported to `problem`
// with its key (empty when no key is known) and one placed line.
void ForEachIntVector(
    const std::string& path, bool allow_pipes,
    const std::function<void(const ScpEntry& entry, std::vector<int32_t> value)>& visit,
    const std::function<void(const std::string& key, const std::string& what)>& problem);

// All of them in memory. A key that comes twice or a broken value throws.
std::unordered_map<std::string, std::vector<int32_t>> ReadAlignments(const std::string& path,
                                                                     bool allow_pipes = false);

}  // namespace mariana
