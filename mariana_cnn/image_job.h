// ImageJob: a config and what its parts open: what train, --check and the other verbs start from.
// Const methods are thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/train/train_run.h"
#include "mariana_cnn/image_feed.h"
#include "mariana_cnn/job.h"
#include "mariana_cnn/model.h"

namespace mariana {

// A set of images, and those of them that turned out to be broken.
struct OpenedImages {
  std::unique_ptr<ImageSource> images;  // null where the config gives none
  std::unique_ptr<BrokenImages> broken;
  int64_t left_out = 0;  // when it was opened
  int64_t bad() const { return left_out + broken->count(); }
};

class ImageJob {
 public:
  // Reads --config and its overrides. Opens no data yet.
  explicit ImageJob(const CommandLine& command_line);

  const CommandLine& command_line;
  JobSpec spec;
  EffectiveConfig effective;

  // runs/<name>, or --run_dir.
  std::string run_path() const { return RunPath(command_line, spec.name); }
  std::string model_path() const { return spec.model.empty() ? run_path() : spec.model; }
  // One set; what is wrong with its images goes to stderr, now and while they are read. `classes`:
  // see OpenImagesOptions. Throws Error(kUsage) when the config does not give the set.
  OpenedImages Open(DataSet set, const std::vector<std::string>* classes) const;
  // The one device, with all its threads, that the verbs besides train compute on.
  std::unique_ptr<Device> InferenceDevice() const;
  // The model that `model:` or the run directory names.
  std::unique_ptr<ImageModel> Model() const { return ReadImageModel(model_path()); }
  // How images are read: in order, the broken ones left out.
  ImageStreamOptions StreamOptions(const OpenedImages& set, const ImageInputSpec& input,
                                   const TransformSpec& transform, Dtype dtype) const;
};

// What training needs: sets with the same classes.
struct TrainingData {
  OpenedImages train, valid;
};
TrainingData OpenForTraining(const ImageJob& job);

// The model that these images make of the job; `net` stays the job's.
ModelSpec ModelOf(ImageJob* job, const ImageSource& train);

// What a verb besides train works on: a model, `spec.set`, and how to read it in order as the model
// needs it.
enum class Labels { kNeeded, kIgnored };
struct InferenceJob {
  std::unique_ptr<Device> device;
  std::unique_ptr<ImageModel> model;
  OpenedImages set;
  ImageStreamOptions stream;
};
// Where labels are needed they are the model's classes; where not, folders may have any names.
// Throws Error(kUsage) when model and config differ in what outputs are.
InferenceJob OpenForInference(const ImageJob& job, Labels labels);

}  // namespace mariana
