#include "mariana_dnn/job.h"

namespace mariana {

void ContextSpec::Describe(Fields* f) {
  f->Int("left", &left, "Frames before the labelled one; edges repeat.", Rule().Min(0).Max(100));
  f->Int("right", &right, "Frames after it.", Rule().Min(0).Max(100));
}

void DataSpec::Describe(Fields* f) {
  f->Section("train", &train, "The utterances to learn from.");
  f->Section("valid", &valid,
             "Held-out utterances: evaluated after each epoch, and by the other verbs.");
  f->Section("features", &features, "From sound or stored features to the net's input frames.");
  f->Section("context", &context, "Frames joined into one input.");
  f->Path("states", &states, PathKind::kInput,
          "States file, `<id> <phone> <position>` lines: gives the number of labels and phone "
          "accuracy.");
  f->TextList("silence_phones", &silence_phones,
              "Phones of the states file that are silence: accuracy is also given without them.");
  f->Int("num_labels", &num_labels, "Number of labels where there is no states file.",
         Rule().Min(0).Max(10000000));
  f->Int("block_frames", &block_frames,
         "Frames shuffled together: the bound on memory, about 4 bytes x dimension x 3 each.",
         Rule().Min(1));
  f->Int("reader_threads", &reader_threads, "Threads that read and decode utterances.",
         Rule().Min(1).Max(256));
  policy.Describe(f);
  f->Path("lexicon", &lexicon, PathKind::kInput,
          "Pronunciations, `word phone phone ...` lines: with `texts`, evaluate also tells which "
          "text was said.");
  f->Path(
      "texts", &texts, PathKind::kInput,
      "`utterance word word ...` lines; the distinct texts are the closed list to choose from.");
  for (const UtteranceSetSpec* set : {&train, &valid}) {
    f->Require(set->cmvn.empty() || features.normalise == Normalisation::kSpeaker ||
                   features.normalise == Normalisation::kUtterance,
               "features", "`cmvn` needs normalise: speaker or utterance");
    f->Require(features.normalise != Normalisation::kSpeaker || !set->utt2spk.empty() ||
                   (set->feats.empty() && set->wav.empty()),
               "features", "normalise: speaker needs `utt2spk` in each set");
  }
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
  f->Section("log", &log, "What is written while training.");
  f->Section("output", &output, "What `forward` and `features` write.");
  f->Path("export_path", &export_path, PathKind::kOutput,
          "The file that `export` writes: .onnx (which gives `output.kind`), or .safetensors.");
}

namespace {

// The part of `data:` that belongs to a run's identity.
struct DataIdentity {
  DataSpec* data;
  void Describe(Fields* f) {
    f->Section("train", &data->train, "");
    f->Section("features", &data->features, "");
    f->Section("context", &data->context, "");
    f->Int("num_labels", &data->num_labels, "");
    f->Int("block_frames", &data->block_frames, "");
    f->Int("frame_tolerance", &data->policy.frame_tolerance, "");
  }
};

struct TrainIdentity {
  TrainSpec* train;
  void Describe(Fields* f) { train->DescribeIdentity(f); }
};

}  // namespace

std::string JobIdentity(JobSpec* job) {
  DataIdentity data{&job->data};
  TrainIdentity train{&job->train};
  return PrintConfig([&](Fields* f) {
    f->Int("seed", &job->seed, "");
    f->Section("data", &data, "");
    f->Section("net", &job->net, "");
    f->Section("train", &train, "");
  });
}

}  // namespace mariana
