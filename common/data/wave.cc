#include "common/data/wave.h"

#include <sndfile.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 31;  // of an audio file that comes through memory
constexpr int64_t kMaxSamples = int64_t{1} << 29;
constexpr int64_t kChunk = 1 << 16;  // samples

// libsndfile's view of bytes in memory.
struct Memory {
  std::string bytes;
  sf_count_t at = 0;
};

sf_count_t Length(void* m) {
  return static_cast<sf_count_t>(static_cast<Memory*>(m)->bytes.size());
}

sf_count_t Tell(void* m) { return static_cast<Memory*>(m)->at; }

sf_count_t Seek(sf_count_t offset, int whence, void* user) {
  auto* m = static_cast<Memory*>(user);
  const sf_count_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? m->at : Length(m);
  m->at = std::clamp<sf_count_t>(base + offset, 0, Length(m));
  return m->at;
}

sf_count_t Read(void* to, sf_count_t n, void* user) {
  auto* m = static_cast<Memory*>(user);
  n = std::min(n, Length(m) - m->at);
  memcpy(to, m->bytes.data() + m->at, static_cast<size_t>(n));
  m->at += n;
  return n;
}

sf_count_t Write(const void*, sf_count_t, void*) { return 0; }

struct Closer {
  void operator()(SNDFILE* f) const { sf_close(f); }
};

// An open audio file. Entries with an offset (wav.ark) and commands are read into memory first.
class Sound {
 public:
  explicit Sound(const ScpEntry& entry) {
    if (entry.last_row >= 0) throw Error(ExitCode::kBadData, "a row range on an audio file");
    if (entry.is_command || entry.offset >= 0) {
      memory_.bytes = ReadBytes(entry);
      SF_VIRTUAL_IO io = {Length, Seek, Read, Write, Tell};
      file_.reset(sf_open_virtual(&io, SFM_READ, &info_, &memory_));
    } else {
      file_.reset(sf_open(entry.path.c_str(), SFM_READ, &info_));
    }
    if (file_ == nullptr) throw Error(ExitCode::kBadData, Why(nullptr));
    if (info_.channels != 1) {
      throw Fail(ExitCode::kBadData, "has ", info_.channels, " channels, expected 1");
    }
    if (info_.frames < 0 || info_.frames > kMaxSamples) {
      throw Fail(ExitCode::kBadData, "implausible length of ", info_.frames, " samples");
    }
  }

  WaveInfo info() const { return {info_.frames, info_.samplerate}; }

  std::vector<float> Samples() {
    std::vector<float> samples;
    samples.reserve(static_cast<size_t>(std::min<int64_t>(info_.frames, 1 << 24)));
    for (;;) {
      const size_t done = samples.size();
      samples.resize(done + kChunk);
      const sf_count_t got = sf_readf_float(file_.get(), samples.data() + done, kChunk);
      samples.resize(done + static_cast<size_t>(std::max<sf_count_t>(got, 0)));
      if (got < kChunk) break;
    }
    if (sf_error(file_.get()) != SF_ERR_NO_ERROR) {
      throw Error(ExitCode::kBadData, Why(file_.get()));
    }
    if (static_cast<int64_t>(samples.size()) != info_.frames) {
      throw Fail(ExitCode::kBadData, "truncated: the header promises ", info_.frames,
                 " samples, the file has ", samples.size());
    }
    for (float& s : samples) s *= 32768.0f;
    return samples;
  }

 private:
  static std::string Why(SNDFILE* file) {
    std::string why = sf_strerror(file);
    while (!why.empty() && (why.back() == '.' || why.back() == '\n')) why.pop_back();
    return StrCat("not readable as audio: ", why);
  }

  static std::string ReadBytes(const ScpEntry& entry) {
    const auto in = OpenEntry(entry);
    char header[8];
    const size_t got = in->Read(header, sizeof(header));
    std::string bytes(header, got);
    uint32_t size = 0;
    if (got == sizeof(header)) memcpy(&size, header + 4, sizeof(size));
    // A RIFF file inside an archive ends where its header says; a command's size may be unset.
    if (bytes.compare(0, 4, "RIFF") == 0 && !entry.is_command) {
      bytes.resize(sizeof(header) + std::min<int64_t>(size, std::max<int64_t>(in->remaining(), 0)));
      bytes.resize(sizeof(header) + in->Read(&bytes[8], bytes.size() - 8));
      return bytes;
    }
    return bytes + in->ReadAll(kMaxBytes);
  }

  Memory memory_;
  SF_INFO info_ = {};
  std::unique_ptr<SNDFILE, Closer> file_;
};

template <class F>
auto Named(const ScpEntry& entry, F f) {
  try {
    return f();
  } catch (const Error& e) {
    throw Fail(ExitCode::kBadData, entry.path, ": utterance \"", entry.key, "\": ", e.message());
  }
}

}  // namespace

Wave ReadWave(const ScpEntry& entry) {
  return Named(entry, [&] {
    Sound sound(entry);
    return Wave{sound.info().sample_rate, sound.Samples()};
  });
}

WaveInfo ReadWaveInfo(const ScpEntry& entry) {
  return Named(entry, [&] { return Sound(entry).info(); });
}

}  // namespace mariana
