// Log-mel filter-bank features as Kaldi's compute-fbank-feats makes them (povey window, power
// spectrum, natural log floored at float's epsilon, no energy column). The arithmetic follows
// kaldi/src/feat (feature-window, mel-computations, feature-fbank); tests hold it to
// kaldi-native-fbank within 1e-3.
#pragma once

#include <cstdint>
#include <vector>

#include "common/config/fields.h"
#include "common/data/kaldi.h"

namespace mariana {

// The `fbank:` section: Kaldi's options, named alike.
struct FbankSpec {
  int64_t sample_rate = 16000;  // Hz; files at another rate are refused
  int64_t mel_bins = 40;
  double frame_length_ms = 25;
  double frame_shift_ms = 10;
  double low_freq = 20;  // Hz
  double high_freq = 0;  // Hz; 0 or less: below the Nyquist frequency by as much
  double preemphasis = 0.97;
  bool remove_dc = true;
  bool snip_edges = true;
  double dither = 0;  // standard deviation of noise added to samples (16-bit range)
  void Describe(Fields* f);
};

// Thread-safe: const after construction.
class Fbank {
 public:
  // Throws Error(kUsage) when a mel bin would hold no FFT bin.
  explicit Fbank(const FbankSpec& spec);

  const FbankSpec& spec() const { return spec_; }
  int64_t NumFrames(int64_t samples) const;
  // samples -> [NumFrames, mel_bins]. Dither draws from (noise_seed, sample index) alone.
  Matrix Compute(const std::vector<float>& samples, uint64_t noise_seed = 0) const;

 private:
  struct MelBin {
    int32_t first;  // FFT bin of weights[0]
    std::vector<float> weights;
  };
  void ExtractFrame(const std::vector<float>& samples, int64_t frame, uint64_t noise_seed,
                    float* out) const;

  FbankSpec spec_;
  int64_t length_, shift_, padded_;  // samples; padded_ is a power of two
  std::vector<float> window_;
  std::vector<MelBin> mel_;
};

}  // namespace mariana
