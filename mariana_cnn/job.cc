#include "mariana_cnn/job.h"

#include "common/base/error.h"

namespace mariana {

void DataSpec::Describe(Fields* f) {
  f->Section("train", &train, "The images to learn from.");
  f->Section("valid", &valid, "Held-out images: evaluated after each epoch.");
  f->Section("test", &test, "Images that training does not look at, for the other verbs.");
  f->Section("input", &input, "What the net sees of an image.");
  f->Section("train_transform", &train_transform, "How an image becomes that in training ...");
  f->Section("valid_transform", &valid_transform, "... and everywhere else.");
  f->Int("io_threads", &io_threads, "Threads that read images from storage.",
         Rule().Min(1).Max(256));
  f->Int("cpu_threads", &cpu_threads,
         "Threads that decode and transform images; 0: as many as there are cores.",
         Rule().Min(0).Max(256));
  f->Int("shuffle_window", &shuffle_window,
         "Images shuffled together, where storage is read in long runs.", Rule().Min(1));
  f->Path("index_folder", &index_folder, PathKind::kOutput,
          "Where indices of tar shards are kept; default: beside each shard.");
}

const ImageSetSpec& DataSpec::set(DataSet which) const {
  return which == DataSet::kTrain ? train : which == DataSet::kValid ? valid : test;
}

void ImageTrainSpec::Describe(Fields* f) {
  TrainSpec::Describe(f);
  f->Real("ema", &ema,
          "The model is the moving average of the values, which keeps this share of itself a step "
          "(0.9999); 0: the values as they are.",
          Rule().Min(0).Below(1));
  f->Section("import", &import,
             "Values that a new run starts with, from a model of another job or another tool.");
  f->Require(start_from.empty() || import.file.empty(), "start_from",
             "and `import` exclude each other");
}

void ImageTrainSpec::DescribeIdentity(Fields* f) {
  TrainSpec::DescribeIdentity(f);
  f->Real("ema", &ema, "");
}

void EvaluateSpec::Describe(Fields* f) {
  f->Bool("flip", &flip, "Average over each image and its mirror image.");
  f->Path("confusion", &confusion, PathKind::kOutput,
          "The confusion matrix as a table with tabs: rows are truth, columns what was said.");
}

void PredictSpec::Describe(Fields* f) {
  f->Path("path", &path, PathKind::kOutput, "Where predictions go; default: stdout.");
  f->Choice("format", &format, {{"tsv", PredictionFormat::kTsv}, {"json", PredictionFormat::kJson}},
            "A line an image, with tabs or as a JSON object.");
  f->Int("top", &top, "So many of the likeliest classes.", Rule().Min(1).Max(1000));
}

void FeaturesSpec::Describe(Fields* f) {
  f->Text("layer", &layer,
          "The layer or block whose activations are written (--check names them all).");
  f->Path("path", &path, PathKind::kOutput,
          "Where they go: .safetensors (with the images' ids in its metadata), or .npy (with the "
          "ids in a .txt beside it).");
}

void PackSpec::Describe(Fields* f) {
  f->Path("folder", &folder, PathKind::kOutput,
          "Where `pack` writes its tar shards: a new folder.");
  f->Bytes("shard_bytes", &shard_bytes, "A new shard begins after so much.", Rule().Min(1));
  f->Bool("shuffle", &shuffle, "In random order: runs of a shard's images are read together.");
}

void JobSpec::Describe(Fields* f) {
  f->Text("name", &name, "Name of the job: the run directory is runs/<name>.", Rule().Required());
  f->Int("seed", &seed, "All random numbers follow from it.", Rule().Min(0));
  f->Path("model", &model, PathKind::kInput,
          "What evaluate, predict, features, export and inspect read: run directory, checkpoint or "
          ".safetensors; default: the best checkpoint of the run directory.");
  f->Choice("set", &set,
            {{"train", DataSet::kTrain}, {"valid", DataSet::kValid}, {"test", DataSet::kTest}},
            "The images that evaluate, predict, features and pack go over.");
  f->Section("data", &data, "Images, labels and how they become samples.");
  f->Section("net", &net, "The network.");
  f->Section("train", &train, "How it learns.");
  f->Section("parallel", &parallel, "Devices and how they exchange parameters.");
  RequireBlocks(f, train, parallel, train.ema);
  f->Section("log", &log, "What is written while training.");
  f->Section("plan", &plan, "What `plan` tries.");
  f->Section("evaluate", &evaluate, "What `evaluate` does.");
  f->Section("predict", &predict, "What `predict` writes.");
  f->Section("features", &features, "What `features` writes.");
  f->Section("pack", &pack, "What `pack` writes.");
  f->Section("onnx", &onnx, "What an exported .onnx file takes and gives.");
  f->Path("export_path", &export_path, PathKind::kOutput,
          "The file that `export` writes: .onnx or .safetensors.");
  for (const ImageSetSpec* images : {&data.train, &data.valid, &data.test}) {
    if (images->empty()) continue;
    f->Require(has_classes() == (images->target == ImageTarget::kClass), "net",
               "loss: softmax_cross_entropy goes with images that have classes, logistic and "
               "squared_error with images that have numbers (target: number)");
  }
}

const char* NameOf(DataSet set) {
  return set == DataSet::kTrain ? "train" : set == DataSet::kValid ? "valid" : "test";
}

namespace {

// The parts of `data:` and `train:` that belong to a run's identity.
struct DataIdentity {
  DataSpec* data;
  void Describe(Fields* f) {
    ImageSetSpec train = data->train;
    train.max_bad_fraction = 0;  // more may be put up with from here on
    f->Section("train", &train, "");
    f->Section("input", &data->input, "");
    f->Section("train_transform", &data->train_transform, "");
    f->Int("shuffle_window", &data->shuffle_window, "");
  }
};

struct TrainIdentity {
  ImageTrainSpec* train;
  void Describe(Fields* f) { train->DescribeIdentity(f); }
};

struct BlocksIdentity {
  ParallelSpec* parallel;
  void Describe(Fields* f) { parallel->DescribeLearning(f); }
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
    if (job->parallel.exchange == ExchangeChoice::kBlock) {
      BlocksIdentity blocks{&job->parallel};
      f->Section("parallel", &blocks, "");
    }
  });
}

}  // namespace mariana
