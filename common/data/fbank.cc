#include "common/data/fbank.h"

#include <glog/logging.h>
#include <kissfft/kiss_fftr.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "common/base/error.h"
#include "common/base/random.h"

namespace mariana {
namespace {

constexpr double kPi = 3.14159265358979323846;

float Mel(float hertz) { return 1127.0f * std::log(1.0f + hertz / 700.0f); }

double HighFrequency(const FbankSpec& spec) {
  return spec.high_freq > 0 ? spec.high_freq : 0.5 * spec.sample_rate + spec.high_freq;
}

struct FreeFft {
  void operator()(kiss_fftr_cfg cfg) const { kiss_fftr_free(cfg); }
};

// Standard normal noise of sample i.
float Noise(uint64_t seed, int64_t i) {
  const Philox4 bits = Philox(seed, kNoiseStream, static_cast<uint64_t>(i));
  const double u = (bits.v[0] + 1.0) / 4294967296.0, v = bits.v[1] / 4294967296.0;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(2 * kPi * v));
}

}  // namespace

void FbankSpec::Describe(Fields* f) {
  f->Int("sample_rate", &sample_rate, "Sample rate in Hz; files at another one are refused.",
         Rule().Min(1000).Max(384000));
  f->Int("mel_bins", &mel_bins, "Features a frame.", Rule().Min(3).Max(1024));
  f->Real("frame_length_ms", &frame_length_ms, "Length of the window.", Rule().Min(2).Max(1000));
  f->Real("frame_shift_ms", &frame_shift_ms, "From one frame to the next.",
          Rule().Min(1).Max(1000));
  f->Real("low_freq", &low_freq, "Lowest frequency of the filters, Hz.", Rule().Min(0));
  f->Real("high_freq", &high_freq,
          "Highest frequency of the filters, Hz; 0 or less: counted from the Nyquist frequency.");
  f->Real("preemphasis", &preemphasis, "Coefficient of the pre-emphasis filter.",
          Rule().Min(0).Max(1));
  f->Bool("remove_dc", &remove_dc, "Subtract each window's mean.");
  f->Bool("snip_edges", &snip_edges,
          "Only frames that fit whole; false: about samples / shift frames, edges mirrored.");
  f->Real("dither", &dither, "Standard deviation of noise added to the samples (16-bit range).",
          Rule().Min(0).Max(1000));
  f->Require(low_freq < HighFrequency(*this) && HighFrequency(*this) <= 0.5 * sample_rate,
             "high_freq", "must lie above low_freq and not above half the sample rate");
}

Fbank::Fbank(const FbankSpec& spec) : spec_(spec) {
  length_ = static_cast<int64_t>(spec.sample_rate * 0.001 * spec.frame_length_ms);
  shift_ = static_cast<int64_t>(spec.sample_rate * 0.001 * spec.frame_shift_ms);
  CHECK(length_ > 1 && shift_ > 0);
  padded_ = 2;
  while (padded_ < length_) padded_ *= 2;
  window_.resize(static_cast<size_t>(length_));
  for (int64_t i = 0; i < length_; ++i) {  // povey
    const double hann = 0.5 - 0.5 * std::cos(2 * kPi * i / (length_ - 1));
    window_[i] = static_cast<float>(std::pow(hann, 0.85));
  }

  // Triangles, equally spaced in mel; the Nyquist bin belongs to none, as in Kaldi.
  const float width = static_cast<float>(spec.sample_rate) / padded_;
  const float low = Mel(static_cast<float>(spec.low_freq));
  const float high = Mel(static_cast<float>(HighFrequency(spec)));
  const float step = (high - low) / (spec.mel_bins + 1);
  for (int64_t b = 0; b < spec.mel_bins; ++b) {
    const float left = low + b * step, centre = low + (b + 1) * step, right = low + (b + 2) * step;
    MelBin bin{-1, {}};
    for (int64_t i = 0; i < padded_ / 2; ++i) {
      const float mel = Mel(width * i);
      if (mel <= left || mel >= right) continue;
      if (bin.first < 0) bin.first = static_cast<int32_t>(i);
      bin.weights.push_back(mel <= centre ? (mel - left) / (centre - left)
                                          : (right - mel) / (right - centre));
    }
    if (bin.first < 0) {
      throw Fail(ExitCode::kUsage, "fbank.mel_bins: ", spec.mel_bins,
                 " filters are too many: filter ", b, " lies between two of the FFT's ",
                 padded_ / 2, " frequencies; take fewer");
    }
    mel_.push_back(std::move(bin));
  }
}

int64_t Fbank::NumFrames(int64_t samples) const {
  if (spec_.snip_edges) return samples < length_ ? 0 : 1 + (samples - length_) / shift_;
  return (samples + shift_ / 2) / shift_;
}

// The windowed samples of a frame: out[0, length_).
void Fbank::ExtractFrame(const std::vector<float>& samples, int64_t frame, uint64_t noise_seed,
                         float* out) const {
  const int64_t n = static_cast<int64_t>(samples.size());
  const int64_t start =
      spec_.snip_edges ? frame * shift_ : frame * shift_ + shift_ / 2 - length_ / 2;
  for (int64_t i = 0; i < length_; ++i) {
    int64_t at = start + i;
    while (at < 0 || at >= n) at = at < 0 ? -at - 1 : 2 * n - 1 - at;  // mirrored
    out[i] = samples[at];
  }
  if (spec_.dither > 0) {
    for (int64_t i = 0; i < length_; ++i) {
      out[i] += static_cast<float>(spec_.dither) * Noise(noise_seed, frame * length_ + i);
    }
  }
  if (spec_.remove_dc) {
    double sum = 0;
    for (int64_t i = 0; i < length_; ++i) sum += out[i];
    const float mean = static_cast<float>(sum / length_);
    for (int64_t i = 0; i < length_; ++i) out[i] -= mean;
  }
  const float c = static_cast<float>(spec_.preemphasis);
  for (int64_t i = length_ - 1; i > 0; --i) out[i] -= c * out[i - 1];
  out[0] -= c * out[0];
  for (int64_t i = 0; i < length_; ++i) out[i] *= window_[i];
}

Matrix Fbank::Compute(const std::vector<float>& samples, uint64_t noise_seed) const {
  Matrix out;
  out.rows = static_cast<int32_t>(NumFrames(static_cast<int64_t>(samples.size())));
  out.cols = static_cast<int32_t>(spec_.mel_bins);
  out.data.resize(int64_t{out.rows} * out.cols);
  // Of this call: kissfft's plan holds its work space.
  const std::unique_ptr<kiss_fftr_state, FreeFft> fft(
      kiss_fftr_alloc(static_cast<int>(padded_), 0, nullptr, nullptr));
  std::vector<float> frame(padded_, 0.0f), power(padded_ / 2);
  std::vector<kiss_fft_cpx> spectrum(padded_ / 2 + 1);
  for (int32_t r = 0; r < out.rows; ++r) {
    ExtractFrame(samples, r, noise_seed, frame.data());
    kiss_fftr(fft.get(), frame.data(), spectrum.data());
    for (size_t i = 0; i < power.size(); ++i) {
      power[i] = spectrum[i].r * spectrum[i].r + spectrum[i].i * spectrum[i].i;
    }
    for (int32_t b = 0; b < out.cols; ++b) {
      const MelBin& bin = mel_[b];
      float energy = 0;
      for (size_t i = 0; i < bin.weights.size(); ++i)
        energy += bin.weights[i] * power[bin.first + i];
      out.row(r)[b] = std::log(std::max(energy, std::numeric_limits<float>::epsilon()));
    }
  }
  return out;
}

}  // namespace mariana
