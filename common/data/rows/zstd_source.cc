#include "common/data/rows/zstd_source.h"

#include <zstd.h>

#include "common/base/error.h"

namespace mariana {
namespace {

class ZstdSource : public ByteSource {
 public:
  explicit ZstdSource(const std::string& path)
      : ByteSource(1 << 16, 0, -1),
        path_(path),
        file_(OpenFile(path, 0)),
        stream_(ZSTD_createDStream()),
        packed_(ZSTD_DStreamInSize(), '\0') {
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, 27);
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }

 private:
  int64_t stored() const override {
    return file_->position() - static_cast<int64_t>(in_.size - in_.pos);
  }
  size_t Fill(char* to, size_t n) override {
    ZSTD_outBuffer out{to, n, 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size && !Refill()) return 0;
      left_ = ZSTD_decompressStream(stream_, &out, &in_);
      if (ZSTD_isError(left_)) {
        throw Fail(ExitCode::kBadData, path_, ": broken zstd file: ", ZSTD_getErrorName(left_));
      }
    }
    return out.pos;
  }

  // False at the end of the file; a frame may still hold output that did not fit.
  bool Refill() {
    in_ = {packed_.data(), file_->Read(packed_.data(), packed_.size()), 0};
    if (in_.size > 0) return true;
    if (left_ != 0) throw Fail(ExitCode::kBadData, path_, ": broken zstd file: it ends too early");
    return false;
  }

  std::string path_;
  std::unique_ptr<ByteSource> file_;
  ZSTD_DStream* stream_;
  std::string packed_;
  ZSTD_inBuffer in_{nullptr, 0, 0};
  size_t left_ = 0;  // what zstd wants next; 0 between frames
};

}  // namespace

std::unique_ptr<ByteSource> OpenZstd(const std::string& path) {
  return std::make_unique<ZstdSource>(path);
}

}  // namespace mariana
