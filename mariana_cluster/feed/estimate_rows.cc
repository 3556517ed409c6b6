#include "mariana_cluster/feed/estimate_rows.h"

#include <algorithm>
#include <cmath>

#include "common/data/rows/row_parser.h"

namespace mariana {
namespace {

constexpr int64_t kPlaces = 256, kPlaceBytes = 1 << 12, kWholeFiles = 8, kWholeBytes = 1 << 20;

// What a sample holds, and what it stands for.
struct Sample {
  double rows = 0, bytes = 0;  // bytes as they are stored
  double all_bytes = 0;
  double Scaled() const { return bytes > 0 ? rows / bytes * all_bytes : 0; }
};

class Sampler {
 public:
  Sampler(const RowPlan& plan, const RowFiles& files, RowPart part)
      : files_(files), bad_(1, nullptr), parser_(MakeRowParser(&plan, &files, part, &bad_)) {
    options_.chunk_bytes = kPlaceBytes;
    options_.line_limit = plan.spec().line_limit;
    options_.quoted_breaks = plan.spec().format == RowFormat::kCsv && plan.spec().multiline;
  }

  // The rows that begin in a piece of a plain file.
  int64_t Rows(const RowPiece& piece) {
    ChunkReader reader(&files_, {piece}, options_);
    int64_t rows = 0;
    while (reader.Next(&chunk_)) rows += Parse();
    return rows;
  }

  // Adds the first rows of a file that is read from its start, and what of the file they take.
  void AddStart(int file, Sample* sample) {
    const auto source = files_.Open(file);
    chunk_ = TextChunk();
    chunk_.file = file;
    chunk_.text.resize(kWholeBytes + kTextPadding + 1);
    const size_t got = source->Read(chunk_.text.data(), kWholeBytes);
    chunk_.size = got;
    if (source->Peek() < 0) {
      chunk_.text[chunk_.size++] = '\n';
    } else {
      while (chunk_.size > 0 && chunk_.text[chunk_.size - 1] != '\n') --chunk_.size;
    }
    if (chunk_.size == 0) return;  // one line and no end
    sample->rows += static_cast<double>(Parse());
    sample->bytes += static_cast<double>(std::min(got, chunk_.size)) * source->stored_ratio();
  }

 private:
  int64_t Parse() {
    batch_.Clear();
    parser_->Parse(chunk_, &batch_);
    return batch_.rows;
  }

  const RowFiles& files_;
  BadRows bad_;
  const std::unique_ptr<RowParser> parser_;
  ChunkReader::Options options_;
  TextChunk chunk_;
  RowBatch batch_;
};

double PlainRows(const std::vector<RowPiece>& pieces, Sampler* sampler) {
  int64_t bytes = 0;
  for (const RowPiece& p : pieces) bytes += p.end - p.begin;
  const bool all = bytes <= kPlaces * kPlaceBytes;
  Sample sample;
  sample.all_bytes = static_cast<double>(bytes);
  int64_t before = 0, place = 0;
  for (const RowPiece& p : pieces) {
    const auto read = [&](int64_t begin, int64_t end) {
      sample.rows += static_cast<double>(sampler->Rows({p.file, begin, end}));
      sample.bytes += static_cast<double>(end - begin);
    };
    if (all) read(p.begin, p.end);
    // In the middle of what it stands for: shards of equal size do not cut it off.
    const auto at = [&] { return bytes * (2 * place + 1) / (2 * kPlaces) + p.begin - before; };
    for (; !all && place < kPlaces && at() < p.end; ++place) {
      read(at(), std::min(p.end, at() + kPlaceBytes));
    }
    before += p.end - p.begin;
  }
  return sample.Scaled();
}

double WholeRows(const RowFiles& files, const std::vector<RowPiece>& pieces, Sampler* sampler) {
  Sample sample;
  const auto step = std::max<size_t>(1, pieces.size() / kWholeFiles);
  for (size_t i = 0; i < pieces.size(); ++i) {
    sample.all_bytes += static_cast<double>(files[pieces[i].file].size);
    if (i % step == 0) sampler->AddStart(pieces[i].file, &sample);
  }
  return sample.Scaled();
}

}  // namespace

int64_t EstimateRows(const RowPlan& plan, const RowFiles& files,
                     const std::vector<RowShard>& shards, RowPart part) {
  std::vector<RowPiece> plain, whole;
  for (const RowShard& shard : shards) {
    for (const RowPiece& piece : shard) {
      if (files[piece.file].packing == Packing::kStream) return -1;
      (files[piece.file].whole ? whole : plain).push_back(piece);
    }
  }
  Sampler sampler(plan, files, part);
  return std::llround(PlainRows(plain, &sampler) + WholeRows(files, whole, &sampler));
}

}  // namespace mariana
