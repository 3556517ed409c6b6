// The agent's side of nets for labelled frames.
#include <algorithm>
#include <cstdio>
#include <map>
#include <utility>

#include "common/base/error.h"
#include "common/train/frame_model.h"
#include "common/train/train_plan.h"
#include "mariana_cluster/agent_task.h"
#include "mariana_cluster/frame_learner.h"
#include "mariana_cluster/learner.h"

namespace mariana {
namespace {

constexpr int64_t kMostColumns = 4096;  // of a frame: what is measured of them fits a message

FrameSets OpenFrames(const CommandLine& cl, const JobSpec& job) {
  FrameSets sets = OpenFrameSets(job.data.frames, job.data.frames.num_labels,
                                 cl.config + ": data.frames", [&cl](const std::string& what) {
                                   std::fprintf(stderr, "%s: warning: data.frames.%s\n",
                                                cl.program.c_str(), what.c_str());
                                 });
  if (sets.train->dim() > kMostColumns) {
    throw Fail(ExitCode::kBadData, cl.config, ": data.frames.train: frames of ", sets.train->dim(),
               " values; at most ", kMostColumns, " can be trained on");
  }
  return sets;
}

std::string Describe(const SpeechCorpus& set) {
  return StrCat(set.num_utterances(), " utterances, ", set.total_frames(), " frames of ", set.dim(),
                " values");
}

class FrameAgent : public AgentTask {
 public:
  explicit FrameAgent(const AgentTaskInput& input) {
    JobSpec* job = input.job;
    FrameDataSpec& data = job->data.frames;
    const FrameSets sets = OpenFrames(*input.command_line, *job);
    samples_ = sets.train->total_frames();
    has_valid_ = sets.valid != nullptr;
    device_ = MakeAgentDevice(input.command_line->device, job->train);
    PlanFrameNet(*job, sets.train->dim(), device_.get());  // what is wrong with it, at once
    tables_ = MeasureFrames(sets.train.get(), data.features, data.num_labels,
                            static_cast<int>(job->parallel.workers));
    facts_ = {sets.train->dim(), tables_.mean, tables_.scale};
    net_ = Net::Build(job->net, FrameNetOptions(*job, facts_.dim, device_.get()));
    net_->Initialize(static_cast<uint64_t>(job->seed));
    FrameModel model;
    model.feature_dim = facts_.dim;
    model.num_labels = data.num_labels;
    model.features = data.features;
    model.context = data.context;
    model.net = &job->net;
    metadata_ = DescribeModel("mariana_cluster", &model);
    input.say(StrCat("training set: ", Describe(*sets.train), ", ", data.num_labels, " labels",
                     has_valid_ ? "; held out: " + Describe(*sets.valid) : ""));
  }

  int64_t epoch_samples() const override { return samples_; }
  bool has_valid() const override { return has_valid_; }
  Net* net() override { return net_.get(); }
  const std::vector<ClickTable>& tables() const override { return no_tables_; }
  std::string measured() const override { return facts_.ToBytes(); }
  const Metadata& metadata() const override { return metadata_; }
  std::vector<HostTensor> tensors() const override { return TablesToTensors(tables_); }

  void Put(ScoresOf of, const std::string& body) override {
    const auto scored = FromBody<ScoredFrames>(body);
    if (of == ScoresOf::kHeldOut) {
      held_out_[scored.lane] = scored;
    } else {
      Add(scored, &training_);
    }
  }
  int64_t held_out_samples() const override {
    int64_t frames = 0;
    for (const auto& [lane, s] : held_out_) frames += s.frames;
    return frames;
  }
  Values Summarize() override {
    ScoredFrames all;
    for (const auto& [lane, s] : held_out_) Add(s, &all);  // in one order, whoever came first
    held_out_.clear();
    const auto frames = static_cast<double>(all.frames);
    return {{"loss", all.loss / frames}, {"accuracy", static_cast<double>(all.correct) / frames}};
  }
  void DropHeldOut() override { held_out_.clear(); }
  Values TakeTraining() override {
    const ScoredFrames s = std::exchange(training_, {});
    if (s.frames == 0) return {};
    return {{"train/accuracy", static_cast<double>(s.correct) / static_cast<double>(s.frames)}};
  }

 private:
  static void Add(const ScoredFrames& more, ScoredFrames* sum) {
    sum->frames += more.frames;
    sum->correct += more.correct;
    sum->loss += more.loss;
  }

  int64_t samples_ = 0;
  bool has_valid_ = false;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Net> net_;
  const std::vector<ClickTable> no_tables_;
  FrameTables tables_;
  FrameFacts facts_;
  Metadata metadata_;
  std::map<int64_t, ScoredFrames> held_out_;  // by lane
  ScoredFrames training_;                     // since the last line of metrics
};

}  // namespace

std::unique_ptr<AgentTask> MakeFrameAgent(const AgentTaskInput& input) {
  return std::make_unique<FrameAgent>(input);
}

void CheckFrames(const CommandLine& cl, JobSpec* job) {
  const FrameSets sets = OpenFrames(cl, *job);
  sets.train->LoadRaw(0);
  const auto device = MakeAgentDevice(cl.device, job->train);
  const NetPlan net = PlanFrameNet(*job, sets.train->dim(), device.get());
  const int64_t batch = job->train.batch_size;
  std::printf("data.frames.train: %s\n", Describe(*sets.train).c_str());
  if (sets.valid) std::printf("data.frames.valid: %s\n", Describe(*sets.valid).c_str());
  std::printf("labels: %lld; about %lld steps an epoch, each of %lld samples of one worker\n\n",
              static_cast<long long>(job->data.frames.num_labels),
              static_cast<long long>((sets.train->total_frames() + batch - 1) / batch),
              static_cast<long long>(batch));
  PrintLayers(net, static_cast<int>(job->parallel.workers));
}

}  // namespace mariana
