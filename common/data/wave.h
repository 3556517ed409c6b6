// Audio files through libsndfile (WAV, FLAC, ...), scaled as Kaldi does: samples in the range of
// 16-bit integers, [-32768, 32768). Thread-safe: no shared state.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/kaldi.h"

namespace mariana {

struct WaveInfo {
  int64_t samples = 0;
  int32_t sample_rate = 0;  // Hz
};

struct Wave {
  int32_t sample_rate = 0;
  std::vector<float> samples;
};

// One channel is expected. Errors: Error(kBadData) `<file>: utterance "<key>": <what>`.
Wave ReadWave(const ScpEntry& entry);
// From the header alone, where the entry is a file; commands run to their end.
WaveInfo ReadWaveInfo(const ScpEntry& entry);

}  // namespace mariana
