// Labelled frames of speech as training programs open them: the part of a config that names them,
// and the sets. Plain structs; thread-compatible.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "common/config/fields.h"
#include "common/data/corpus.h"

namespace mariana {

// Frames around the labelled one that the net sees.
struct ContextSpec {
  int64_t left = 5, right = 5;
  void Describe(Fields* f);
};

struct FrameDataSpec {
  UtteranceSetSpec train, valid;
  FeatureSpec features;
  ReadPolicy policy;
  ContextSpec context;
  int64_t num_labels = 0;
  int64_t block_frames = 1 << 18;
  int64_t reader_threads = 1;
  void Describe(Fields* f);
};

// The part of it that belongs to a run's identity.
struct FrameDataIdentity {
  FrameDataSpec* data;
  void Describe(Fields* f);
};

// What training needs: labelled sets of one dimension, `valid` null where the config gives none.
struct FrameSets {
  std::unique_ptr<SpeechCorpus> train, valid;
};

// `where` begins messages: "job.yaml: data"; a set's warnings go to `warn`, each with its name.
// Throws Error(kUsage) for a set without labels.
FrameSets OpenFrameSets(const FrameDataSpec& spec, int64_t num_labels, const std::string& where,
                        const std::function<void(const std::string&)>& warn);

}  // namespace mariana
