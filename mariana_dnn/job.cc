#include "mariana_dnn/job.h"

#include <map>
#include <sstream>
#include <utility>

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

void CheckpointSpec::Describe(Fields* f) {
  f->Int("every_steps", &every_steps, "Save every so many steps; 0: only at ends of epochs.",
         Rule().Min(0));
  f->Int("every_epochs", &every_epochs, "Save at the end of every so many epochs.", Rule().Min(1));
  f->Int("keep", &keep, "Newest checkpoints to keep, beside the best one.", Rule().Min(1));
}

void TrainSpec::Describe(Fields* f) {
  f->Int("epochs", &epochs, "Passes over the training set.", Rule().Min(1).Max(1000000));
  f->Int("max_steps", &max_steps, "End after so many steps in all; 0: no such end.", Rule().Min(0));
  f->Int("batch_size", &batch_size, "Samples per step, over all devices.",
         Rule().Min(1).Max(1 << 24));
  f->Int("accumulate", &accumulate,
         "Parts that each device computes its share in, to need less memory; the step is the same.",
         Rule().Min(1).Max(4096));
  f->Choice("precision", &precision, {{"fp32", Precision::kFp32}, {"bf16", Precision::kBf16}},
            "Of activations and matrix products; parameters and gradients are fp32.");
  f->Section("optimizer", &optimizer, "How values follow gradients.");
  f->Section("schedule", &schedule, "The learning rate over time.");
  f->Section("checkpoint", &checkpoint, "When to save.");
  f->Int("patience", &patience,
         "Stop after so many epochs without a better held-out loss; 0: never.", Rule().Min(0));
  f->Path("start_from", &start_from, PathKind::kInput,
          "Model (run directory, checkpoint or .safetensors) whose values a new run starts with.");
}

void LogSpec::Describe(Fields* f) {
  f->Int("every_steps", &every_steps, "A line of metrics every so many steps.", Rule().Min(1));
  f->Bool("profile", &profile, "Time every layer, for the report (costs about a percent).");
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

// The parts of `data:` and `train:` that belong to a run's identity.
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
  void Describe(Fields* f) {
    f->Int("batch_size", &train->batch_size, "");
    f->Choice("precision", &train->precision,
              {{"fp32", Precision::kFp32}, {"bf16", Precision::kBf16}}, "");
    f->Section("optimizer", &train->optimizer, "");
    f->Section("schedule", &train->schedule, "");
  }
};

// One value of a printed config.
struct PrintedValue {
  std::string path, text;  // "net.layers.0.units", "32"
};

// The values of what PrintConfig prints: two spaces a level, "- " before the first key of an item.
std::vector<PrintedValue> PrintedValues(const std::string& yaml) {
  std::vector<PrintedValue> out;
  std::vector<std::pair<size_t, std::string>> open;  // indentation and name of what we are in
  std::istringstream lines(yaml);
  for (std::string line; std::getline(lines, line);) {
    size_t indent = line.find_first_not_of(' ');
    if (indent == std::string::npos) continue;
    const bool starts_item = line.compare(indent, 2, "- ") == 0;
    while (!open.empty() && open.back().first > indent) open.pop_back();
    if (starts_item) {
      int item = 0;
      if (!open.empty() && open.back().first == indent) {
        item = std::stoi(open.back().second) + 1;
        open.pop_back();
      }
      open.emplace_back(indent, std::to_string(item));
      indent += 2;
    } else {
      while (!open.empty() && open.back().first >= indent) open.pop_back();
    }
    const size_t colon = line.find(':', indent);
    open.emplace_back(indent, line.substr(indent, colon - indent));
    if (colon == std::string::npos || colon + 1 >= line.size()) continue;
    PrintedValue value{"", line.substr(colon + 2)};
    for (const auto& [_, name] : open) value.path += (value.path.empty() ? "" : ".") + name;
    out.push_back(value);
  }
  return out;
}

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

std::string FirstChange(const std::string& before, const std::string& now) {
  std::map<std::string, std::string> was;
  for (const PrintedValue& v : PrintedValues(before)) was[v.path] = v.text;
  for (const PrintedValue& v : PrintedValues(now)) {
    const auto it = was.find(v.path);
    if (it == was.end()) return v.path + " is new";
    if (it->second != v.text) return v.path + " was " + it->second + " and is now " + v.text;
    was.erase(it);
  }
  return was.empty() ? "its form" : was.begin()->first + " is gone";
}

}  // namespace mariana
