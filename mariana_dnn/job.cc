#include "mariana_dnn/job.h"

namespace mariana {

void DataSpec::Describe(Fields* f) {
  FrameDataSpec::Describe(f);
  f->Path("states", &states, PathKind::kInput,
          "States file, `<id> <phone> <position>` lines: gives the number of labels and phone "
          "accuracy.");
  f->TextList("silence_phones", &silence_phones,
              "Phones of the states file that are silence: accuracy is also given without them.");
  f->Path("lexicon", &lexicon, PathKind::kInput,
          "Pronunciations, `word phone phone ...` lines: with `texts`, evaluate also tells which "
          "text was said.");
  f->Path(
      "texts", &texts, PathKind::kInput,
      "`utterance word word ...` lines; the distinct texts are the closed list to choose from.");
  f->Require(!states.empty() || num_labels > 0, "num_labels",
             "is needed where `states` is not given");
  f->Require(states.empty() || num_labels == 0, "num_labels",
             "is given by `states` already: remove one of the two");
  f->Require(lexicon.empty() == texts.empty(), "texts", "and `lexicon` go together");
  f->Require(lexicon.empty() || (!states.empty() && !silence_phones.empty()), "lexicon",
             "needs `states` and `silence_phones`");
}

void OutputSpec::Describe(Fields* f) {
  f->Choice("set", &set, {{"train", DataSet::kTrain}, {"valid", DataSet::kValid}},
            "Which utterances `forward` and `features` go over.");
  f->Choice("kind", &kind,
            {{"posteriors", ForwardKind::kPosteriors},
             {"log_posteriors", ForwardKind::kLogPosteriors},
             {"log_likelihoods", ForwardKind::kLogLikelihoods}},
            "What `forward` and an exported .onnx give; log-likelihoods are log posterior - log "
            "class prior.");
  f->Path("ark", &ark, PathKind::kOutput,
          "Kaldi archive to write, with an .scp beside it; needed by `forward` and `features`.");
}

void JobSpec::Describe(Fields* f) {
  f->Text("name", &name, "Name of the job: the run directory is runs/<name>.", Rule().Required());
  f->Int("seed", &seed, "All random numbers follow from it.", Rule().Min(0));
  f->Path("model", &model, PathKind::kInput,
          "What evaluate, forward, export and inspect read: run directory, checkpoint or "
          ".safetensors; default: the best checkpoint of the run directory.");
  f->Section("data", &data, "Utterances, labels and how they become samples.");
  f->Section("net", &net, "The network.");
  f->Require(net.loss == LossKind::kSoftmaxCrossEntropy, "net",
             "loss: must be softmax_cross_entropy, as labels are classes");
  f->Section("train", &train, "How it learns.");
  f->Section("parallel", &parallel, "Devices and how they exchange parameters.");
  RequireBlocks(f, train, parallel);
  f->Require(parallel.split == 1, "parallel",
             "split: mariana_dnn's nets are not shared by workers");
  f->Section("log", &log, "What is written while training.");
  f->Section("plan", &plan, "What `plan` tries.");
  f->Section("output", &output, "What `forward` and `features` write.");
  f->Path("export_path", &export_path, PathKind::kOutput,
          "The file that `export` writes: .onnx (which gives `output.kind`), or .safetensors.");
}

namespace {

struct TrainIdentity {
  TrainSpec* train;
  void Describe(Fields* f) { train->DescribeIdentity(f); }
};

struct BlocksIdentity {
  ParallelSpec* parallel;
  void Describe(Fields* f) { parallel->DescribeLearning(f); }
};

}  // namespace

std::string JobIdentity(JobSpec* job) {
  FrameDataIdentity data{&job->data};
  TrainIdentity train{&job->train};
  return PrintConfig([&](Fields* f) {
    f->Int("seed", &job->seed, "");
    f->Section("data", &data, "");
    f->Section("net", &job->net, "");
    f->Section("train", &train, "");
    if (job->parallel.exchange == ExchangeChoice::kBlock) {
      BlocksIdentity blocks{&job->parallel};
      f->Section("parallel", &blocks, "");
    }
  });
}

}  // namespace mariana
