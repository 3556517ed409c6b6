// An acoustic model as an ONNX file: the frames of one utterance in, a row of outputs for each out.
// Free function.
#pragma once

#include <string>

#include "mariana_dnn/model.h"

namespace mariana {

// Input "frames" [frames, feature_dim], fp32, as the features are before global normalisation (by
// speaker or utterance is the caller's work): that, splicing and the output kind are inside.
// Output [frames, labels], named like the kind. `net` has the model's values.
void ExportAcousticModel(const AcousticModel& model, ForwardKind kind, Net* net,
                         const std::string& path);

}  // namespace mariana
