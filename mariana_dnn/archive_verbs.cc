// forward, features: what a model says of, or sees of, utterances, as Kaldi archives.
#include <cmath>
#include <cstdio>

#include "common/base/error.h"
#include "common/train/signals.h"
#include "mariana_dnn/evaluate.h"
#include "mariana_dnn/verbs.h"

namespace mariana {
namespace {

// output.ark and the .scp beside it.
std::unique_ptr<ArkWriter> OpenOutput(const SpeechJob& job) {
  const std::string& ark = job.spec.output.ark;
  if (ark.empty()) {
    throw Fail(ExitCode::kUsage, job.command_line.config, ": output.ark: needed by `",
               job.command_line.verb, "`, e.g. output.ark=out.ark");
  }
  const std::string stem =
      ark.size() > 4 && ark.substr(ark.size() - 4) == ".ark" ? ark.substr(0, ark.size() - 4) : ark;
  return std::make_unique<ArkWriter>(ark, stem + ".scp");
}

void ToOutput(ForwardKind kind, const std::vector<float>& log_prior, Matrix* m) {
  for (int32_t t = 0; t < m->rows; ++t) {
    float* row = m->row(t);
    for (int32_t k = 0; k < m->cols; ++k) {
      if (kind == ForwardKind::kPosteriors) row[k] = std::exp(row[k]);
      if (kind == ForwardKind::kLogLikelihoods) row[k] -= log_prior[static_cast<size_t>(k)];
    }
  }
}

int Finished(ArkWriter* writer, const SpeechJob& job, int utterances) {
  if (StopRequested()) return static_cast<int>(ExitCode::kStopped);  // nothing is left behind
  writer->Finish();
  std::printf("%d utterances -> %s\n", utterances, job.spec.output.ark.c_str());
  return 0;
}

}  // namespace

int ForwardVerb(const CommandLine& cl) {
  const SpeechJob job(cl);
  const auto writer = OpenOutput(job);
  const auto device = job.InferenceDevice();
  const auto model = job.Model();
  const auto corpus = OpenFor(job, *model, job.spec.output.set);
  const auto net = MakeInferenceNet(*model, device.get(), kInferenceRows);
  FrameScorer scorer(net.get(), model->spec.context);
  const std::vector<float> log_prior = LogPrior(model->tables.prior);
  Progress progress(cl.progress, Clock::Real(), stderr);
  progress.Begin("forward", corpus->total_frames(), "frames");
  int64_t done = 0;
  int utterances = 0;
  ForEachUtterance(*corpus, &scorer, kInferenceRows, model->spec.context, model->spec.num_labels,
                   job.labels, nullptr, [&](int u, const Matrix& log_posteriors) {
                     Matrix out = log_posteriors;
                     ToOutput(job.spec.output.kind, log_prior, &out);
                     writer->Write(corpus->id(u), out);
                     ++utterances;
                     done += corpus->frames(u);
                     progress.Update(done, {});
                     return !StopRequested();
                   });
  progress.End();
  return Finished(writer.get(), job, utterances);
}

int FeaturesVerb(const CommandLine& cl) {
  const SpeechJob job(cl);
  const auto writer = OpenOutput(job);
  const auto corpus = job.Open(job.spec.output.set, job.spec.data.features);
  if (job.spec.data.features.normalise == Normalisation::kGlobal) {
    // A model's own statistics when there is one; those of the training set otherwise.
    std::vector<float> mean, scale;
    if (!job.spec.model.empty()) {
      const auto model = job.Model();
      mean = model->tables.mean;
      scale = model->tables.scale;
    } else {
      job.Open(DataSet::kTrain, job.spec.data.features)->ComputeGlobalStats(&mean, &scale);
    }
    corpus->SetGlobalStats(mean, scale);
  }
  Progress progress(cl.progress, Clock::Real(), stderr);
  progress.Begin("features", corpus->total_frames(), "frames");
  int64_t done = 0;
  int u = 0;
  for (; u < corpus->num_utterances() && !StopRequested(); ++u) {
    Matrix features;
    corpus->Load(u, &features, nullptr);
    writer->Write(corpus->id(u), features);
    done += corpus->frames(u);
    progress.Update(done, {});
  }
  progress.End();
  return Finished(writer.get(), job, u);
}

}  // namespace mariana
