#include "mariana_dnn/scores.h"

#include <algorithm>

namespace mariana {

void FrameScores::Add(const FrameScores& o) {
  loss += o.loss;
  frames += o.frames;
  correct += o.correct;
  phone_correct += o.phone_correct;
  speech_frames += o.speech_frames;
  speech_correct += o.speech_correct;
  speech_phone_correct += o.speech_phone_correct;
}

std::vector<std::pair<std::string, double>> FrameScores::Values(const LabelInfo& labels) const {
  const auto share = [](int64_t part, int64_t whole) {
    return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(whole, 1));
  };
  std::vector<std::pair<std::string, double>> out;
  out.emplace_back("loss", loss / static_cast<double>(std::max<int64_t>(frames, 1)));
  out.emplace_back("accuracy", share(correct, frames));
  if (labels.phone.empty()) return out;
  const bool has_silence =
      std::find(labels.silence.begin(), labels.silence.end(), true) != labels.silence.end();
  out.emplace_back("phone_accuracy", share(phone_correct, frames));
  if (has_silence) {
    out.emplace_back("accuracy_no_silence", share(speech_correct, speech_frames));
    out.emplace_back("phone_accuracy_no_silence", share(speech_phone_correct, speech_frames));
  }
  return out;
}

FrameScorer::FrameScorer(Net* net, const ContextSpec& context)
    : net_(net), feeder_(net->options().device, context, net->options().max_rows) {
  const NetOptions& o = net->options();
  std::vector<int64_t> dims{o.max_rows};
  dims.insert(dims.end(), o.input.dims().begin(), o.input.dims().end());
  input_ = Tensor(o.device, o.compute, Shape(dims));
  labels_ = Tensor(o.device, Dtype::kI32, {o.max_rows});
  argmax_ = Tensor(o.device, Dtype::kI32, {o.max_rows});
}

template <class F>
void FrameScorer::ForEachPart(const FrameBatch& batch, int64_t begin, int64_t rows,
                              bool with_labels, F f) {
  for (int64_t done = 0; done < rows;) {
    StepContext step;
    step.train = false;
    step.rows = step.batch_rows = std::min(rows - done, net_->options().max_rows);
    const Tensor labels = with_labels ? labels_.Rows(0, step.rows) : Tensor();
    const Tensor input = input_.Rows(0, step.rows);
    feeder_.Feed(batch, begin + done, input, labels);
    net_->Forward(step, input);
    f(step, labels, begin + done);
    done += step.rows;
  }
}

void FrameScorer::Score(const FrameBatch& batch, int64_t begin, int64_t rows, const LabelInfo& info,
                        FrameScores* scores) {
  ForEachPart(
      batch, begin, rows, true, [&](const StepContext& step, const Tensor& labels, int64_t first) {
        Device* device = net_->options().device;
        const LossSums sums = net_->Loss(step, labels);
        scores->loss += sums.loss;
        scores->correct += sums.correct;
        scores->frames += step.rows;
        if (info.phone.empty()) return;
        const Tensor outputs = net_->outputs();
        device->ArgMax(outputs.f32(), argmax_.i32(), step.rows, net_->output_shape().elements());
        std::vector<int32_t> said(static_cast<size_t>(step.rows));
        argmax_.Rows(0, step.rows).Download(said.data());
        for (int64_t i = 0; i < step.rows; ++i) {
          const auto truth = static_cast<size_t>(batch.label[static_cast<size_t>(first + i)]);
          const auto guess = static_cast<size_t>(said[static_cast<size_t>(i)]);
          const bool phone_right = info.phone[truth] == info.phone[guess];
          scores->phone_correct += phone_right;
          if (info.silence[truth]) continue;
          ++scores->speech_frames;
          scores->speech_correct += truth == guess;
          scores->speech_phone_correct += phone_right;
        }
      });
}

void FrameScorer::LogPosteriors(const FrameBatch& batch, int64_t begin, int64_t rows,
                                std::vector<float>* out) {
  ForEachPart(batch, begin, rows, false, [&](const StepContext& step, const Tensor&, int64_t) {
    Device* device = net_->options().device;
    const Tensor outputs = net_->outputs();
    const int64_t cols = net_->output_shape().elements();
    if (posteriors_.empty()) {
      posteriors_ = Tensor(device, Dtype::kF32, {net_->options().max_rows, cols});
    }
    device->LogSoftmax(outputs.f32(), posteriors_.f32(), step.rows, cols);
    const size_t old = out->size();
    out->resize(old + static_cast<size_t>(step.rows * cols));
    posteriors_.Rows(0, step.rows).Download(out->data() + old);
  });
}

void ForEachUtterance(const UtteranceSource& corpus, FrameScorer* scorer, int64_t batch_rows,
                      const ContextSpec& context, int64_t num_labels, const LabelInfo& labels,
                      FrameScores* scores, const std::function<bool(int, const Matrix&)>& visit) {
  FrameStream stream(&corpus, InOrder(context, batch_rows));
  Matrix current;
  current.cols = static_cast<int32_t>(num_labels);
  FrameBatch batch;
  while (stream.Next(&batch)) {
    if (scores) scorer->Score(batch, 0, batch.rows(), labels, scores);
    for (int64_t i = 0; i < batch.rows();) {
      const int32_t u = batch.utterance[static_cast<size_t>(i)];
      int64_t end = i;
      while (end < batch.rows() && batch.utterance[static_cast<size_t>(end)] == u) ++end;
      scorer->LogPosteriors(batch, i, end - i, &current.data);
      current.rows += static_cast<int32_t>(end - i);
      i = end;
      if (current.rows < corpus.frames(u)) continue;
      if (!visit(u, current)) return;
      current.rows = 0;
      current.data.clear();
    }
  }
}

}  // namespace mariana
