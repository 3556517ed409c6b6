// The values inside Kaldi's files: matrices and vectors, binary and text.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <type_traits>

#include "common/base/error.h"
#include "common/data/kaldi.h"

namespace mariana {
namespace {

// Beyond these a length is taken for garbage: 1 GiB of floats is 18 hours of 40 columns.
constexpr int64_t kMaxElements = int64_t{1} << 28;
constexpr int32_t kMaxColumns = 1 << 20;
constexpr size_t kMaxWord = 256;              // bytes of a number in text
constexpr int64_t kChunk = int64_t{1} << 18;  // elements taken at a time where the size is unknown

Error Bad(const std::string& what) { return Error(ExitCode::kBadData, what); }

std::string Printable(int c) {
  if (c < 0) return "the end";
  if (c > 32 && c < 127) return StrCat("'", static_cast<char>(c), "'");
  return StrCat("byte ", c);
}

// ---- binary ---------------------------------------------------------------------------------

template <class T>
T ReadPod(ByteSource* in, const char* what) {
  T value;
  if (in->Read(&value, sizeof(T)) != sizeof(T)) throw Bad(StrCat("truncated in ", what));
  return value;
}

// Kaldi's WriteBasicType: the size of the type, then the value.
int32_t ReadSizedInt(ByteSource* in, const char* what) {
  const int size = in->Get();
  if (size < 0) throw Bad(StrCat("truncated in ", what));
  if (size != 4) throw Bad(StrCat("expected a 4-byte ", what, ", got size ", size));
  return ReadPod<int32_t>(in, what);
}

// Takes the "\0B" that starts a binary value.
bool TakeBinaryMark(ByteSource* in) {
  if (in->Peek() != 0) return false;
  in->Get();
  const int c = in->Get();
  if (c != 'B') throw Bad(StrCat("expected 'B' after the zero byte, got ", Printable(c)));
  return true;
}

// "FM " and the like.
std::string ReadToken(ByteSource* in) {
  std::string token;
  int c;
  while ((c = in->Get()) != ' ') {
    if (c < 0) throw Bad("truncated in the type");
    if (c < 33 || c > 126 || token.size() >= 4) throw Bad("unknown type of binary value");
    token.push_back(static_cast<char>(c));
  }
  return token;
}

// Throws where fewer bytes are left, as far as that is known.
void NeedBytes(const ByteSource& in, int64_t bytes) {
  const int64_t left = in.remaining();
  if (left >= 0 && left < bytes) {
    throw Bad(StrCat("truncated: needs ", bytes, " more bytes, the file has ", left));
  }
}

// n elements, taking memory only as the bytes really come.
template <class T>
std::vector<T> ReadArray(ByteSource* in, int64_t n) {
  NeedBytes(*in, n * static_cast<int64_t>(sizeof(T)));
  const int64_t step = in->remaining() >= 0 ? n : kChunk;
  std::vector<T> data;
  for (int64_t done = 0; done < n;) {
    const int64_t part = std::min(n - done, step);
    data.resize(done + part);
    if (in->Read(data.data() + done, part * sizeof(T)) != part * sizeof(T)) {
      throw Bad("truncated in the data");
    }
    done += part;
  }
  return data;
}

void CheckSize(int64_t rows, int64_t cols) {
  if (rows < 0 || cols < 0 || cols > kMaxColumns || rows * cols > kMaxElements) {
    throw Bad(StrCat("implausible size ", rows, " x ", cols));
  }
}

int64_t CheckLength(int64_t n) {
  if (n < 0 || n > kMaxElements) throw Bad(StrCat("implausible length ", n));
  return n;
}

template <class T, class Stored>
std::vector<T> Convert(std::vector<Stored> data) {
  if constexpr (std::is_same_v<T, Stored>) {
    return data;
  } else {
    return std::vector<T>(data.begin(), data.end());
  }
}

// What stands before the numbers of a binary matrix.
struct BinaryHeader {
  std::string type;
  float min = 0, range = 0;  // compressed types
  int32_t rows = 0, cols = 0;
  // Bytes of what follows.
  int64_t PayloadBytes() const {
    const int64_t n = int64_t{rows} * cols;
    if (type == "FM") return 4 * n;
    if (type == "DM") return 8 * n;
    if (type == "CM") return n + 8 * int64_t{cols};
    return type == "CM2" ? 2 * n : n;
  }
};

BinaryHeader ReadBinaryHeader(ByteSource* in) {
  BinaryHeader h;
  h.type = ReadToken(in);
  if (h.type == "FM" || h.type == "DM") {
    h.rows = ReadSizedInt(in, "number of rows");
    h.cols = ReadSizedInt(in, "number of columns");
  } else if (h.type == "CM" || h.type == "CM2" || h.type == "CM3") {
    h.min = ReadPod<float>(in, "the header");
    h.range = ReadPod<float>(in, "the header");
    h.rows = ReadPod<int32_t>(in, "the header");
    h.cols = ReadPod<int32_t>(in, "the header");
  } else {
    throw Bad(StrCat("type \"", h.type, "\" is not a matrix (FM, DM, CM, CM2, CM3)"));
  }
  CheckSize(h.rows, h.cols);
  if (h.rows == 0 || h.cols == 0) h.rows = h.cols = 0;
  return h;
}

// CM: columns, each a piecewise linear function of a byte through four percentiles.
template <class T>
void ReadCompressedColumns(ByteSource* in, const BinaryHeader& h, MatrixOf<T>* m) {
  const auto percentiles = ReadArray<uint16_t>(in, 4 * int64_t{h.cols});
  const auto bytes = ReadArray<uint8_t>(in, int64_t{h.rows} * h.cols);
  m->data.resize(bytes.size());
  for (int32_t c = 0; c < h.cols; ++c) {
    float p[4];
    for (int k = 0; k < 4; ++k) p[k] = h.min + h.range * (1 / 65535.0f) * percentiles[4 * c + k];
    const float low = (p[1] - p[0]) * (1 / 64.0f);
    const float middle = (p[2] - p[1]) * (1 / 128.0f);
    const float high = (p[3] - p[2]) * (1 / 63.0f);
    const uint8_t* column = bytes.data() + int64_t{c} * h.rows;
    for (int32_t r = 0; r < h.rows; ++r) {
      const int v = column[r];
      m->data[int64_t{r} * h.cols + c] = v <= 64    ? p[0] + low * v
                                         : v <= 192 ? p[1] + middle * (v - 64)
                                                    : p[2] + high * (v - 192);
    }
  }
}

template <class T, class Stored>
void ReadCompressedLinear(ByteSource* in, const BinaryHeader& h, MatrixOf<T>* m) {
  const auto stored = ReadArray<Stored>(in, int64_t{h.rows} * h.cols);
  const float step = h.range * (sizeof(Stored) == 2 ? 1 / 65535.0f : 1 / 255.0f);
  m->data.resize(stored.size());
  for (size_t i = 0; i < stored.size(); ++i) m->data[i] = h.min + step * stored[i];
}

template <class T>
MatrixOf<T> ReadBinaryMatrix(ByteSource* in) {
  const BinaryHeader h = ReadBinaryHeader(in);
  const int64_t n = int64_t{h.rows} * h.cols;
  MatrixOf<T> m;
  m.rows = h.rows;
  m.cols = h.cols;
  if (h.type == "FM") {
    m.data = Convert<T>(ReadArray<float>(in, n));
  } else if (h.type == "DM") {
    m.data = Convert<T>(ReadArray<double>(in, n));
  } else if (h.type == "CM") {
    ReadCompressedColumns(in, h, &m);
  } else if (h.type == "CM2") {
    ReadCompressedLinear<T, uint16_t>(in, h, &m);
  } else {
    ReadCompressedLinear<T, uint8_t>(in, h, &m);
  }
  return m;
}

// ---- text -----------------------------------------------------------------------------------

bool IsBlank(int c) { return c == ' ' || c == '\t' || c == '\r'; }

void SkipBlanks(ByteSource* in, bool newlines) {
  while (IsBlank(in->Peek()) || (newlines && in->Peek() == '\n')) in->Get();
}

std::string ReadWord(ByteSource* in) {
  std::string word;
  int c;
  while ((c = in->Peek()) >= 0 && !IsBlank(c) && c != '\n' && c != ']' && c != ';') {
    if (word.size() >= kMaxWord)
      throw Bad(StrCat("more than ", kMaxWord, " bytes without a space"));
    word.push_back(static_cast<char>(in->Get()));
  }
  return word;
}

template <class T>
T ParseNumber(const std::string& word) {
  T value{};
  const char* end = word.data() + word.size();
  const auto result = std::from_chars(word.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end || word.empty()) {
    std::string shown;
    for (char c : word.substr(0, 40)) shown += c > 32 && c < 127 ? c : '?';
    throw Bad(StrCat(
        "\"", shown, "\" is not ", std::is_integral_v<T> ? "an integer" : "a number",
        std::is_integral_v<T> && result.ec == std::errc::result_out_of_range ? " of 32 bits" : ""));
  }
  return value;
}

void ExpectOpenBracket(ByteSource* in) {
  SkipBlanks(in, true);
  const int c = in->Get();
  if (c != '[') throw Bad(StrCat("expected '[' or a binary value, got ", Printable(c)));
}

void TakeRestOfLine(ByteSource* in) {
  SkipBlanks(in, false);
  if (in->Peek() == '\n') in->Get();
}

// Rows end with a newline, ';' or ']'; the first may follow '[' on its line.
template <class T>
MatrixOf<T> ReadTextMatrix(ByteSource* in) {
  ExpectOpenBracket(in);
  MatrixOf<T> m;
  int64_t in_row = 0;
  for (;;) {
    SkipBlanks(in, false);
    const int c = in->Peek();
    if (c < 0) throw Bad("truncated: no ']' ends the matrix");
    if (c != '\n' && c != ';' && c != ']') {
      m.data.push_back(ParseNumber<T>(ReadWord(in)));
      ++in_row;
      CheckSize(int64_t{m.rows} + 1, std::max<int64_t>(m.cols, in_row));
      continue;
    }
    in->Get();
    if (in_row > 0) {
      if (m.rows == 0) m.cols = static_cast<int32_t>(in_row);
      if (in_row != m.cols) {
        throw Bad(StrCat("row ", m.rows, " has ", in_row, " numbers, row 0 has ", m.cols));
      }
      ++m.rows;
      in_row = 0;
    }
    if (c == ']') break;
  }
  TakeRestOfLine(in);
  return m;
}

}  // namespace

template <class T>
MatrixOf<T> ReadMatrixValue(ByteSource* in) {
  return TakeBinaryMark(in) ? ReadBinaryMatrix<T>(in) : ReadTextMatrix<T>(in);
}
template MatrixOf<float> ReadMatrixValue<float>(ByteSource* in);
template MatrixOf<double> ReadMatrixValue<double>(ByteSource* in);

MatrixSize ReadMatrixSizeValue(ByteSource* in) {
  if (!TakeBinaryMark(in)) {
    const Matrix m = ReadTextMatrix<float>(in);
    return {m.rows, m.cols};
  }
  const BinaryHeader h = ReadBinaryHeader(in);
  NeedBytes(*in, h.PayloadBytes());
  return {h.rows, h.cols};
}

std::vector<int32_t> ReadIntVectorValue(ByteSource* in) {
  std::vector<int32_t> v;
  if (TakeBinaryMark(in)) {
    const int64_t n = CheckLength(ReadSizedInt(in, "length"));
    NeedBytes(*in, 5 * n);
    v.reserve(in->remaining() >= 0 ? n : std::min(n, kChunk));
    for (int64_t i = 0; i < n; ++i) v.push_back(ReadSizedInt(in, "element"));
    return v;
  }
  SkipBlanks(in, false);
  const bool bracket = in->Peek() == '[';  // kaldiio writes `[ 1 2 ]`, Kaldi `1 2`
  if (bracket) in->Get();
  for (;;) {
    SkipBlanks(in, false);
    const int c = in->Peek();
    if (c < 0 || c == '\n' || (bracket && c == ']')) break;
    v.push_back(ParseNumber<int32_t>(ReadWord(in)));
    CheckLength(static_cast<int64_t>(v.size()));
  }
  if (bracket) {
    if (in->Peek() != ']') throw Bad("no ']' ends the vector");
    in->Get();
  }
  TakeRestOfLine(in);
  return v;
}

std::vector<float> ReadFloatVectorValue(ByteSource* in) {
  if (TakeBinaryMark(in)) {
    const std::string type = ReadToken(in);
    if (type != "FV" && type != "DV") {
      throw Bad(StrCat("type \"", type, "\" is not a vector (FV, DV)"));
    }
    const int64_t n = CheckLength(ReadSizedInt(in, "length"));
    return type == "FV" ? ReadArray<float>(in, n) : Convert<float>(ReadArray<double>(in, n));
  }
  Matrix m = ReadTextMatrix<float>(in);
  if (m.rows > 1) throw Bad(StrCat("a matrix of ", m.rows, " rows where a vector is expected"));
  return std::move(m.data);
}

}  // namespace mariana
