// mariana_cnn: trains image models, data-parallel over the devices of a machine.
#include "mariana_cnn/verbs.h"

int main(int argc, char** argv) {
  const mariana::ProgramInfo info{
      "mariana_cnn",
      "Trains image models on one or several devices, and uses them.",
      {{"train", "train the job of --config", mariana::TrainVerb, true, "", true, true},
       {"evaluate", "score a model on a set of images", mariana::EvaluateVerb},
       {"predict", "write what a model says of each image", mariana::PredictVerb},
       {"features", "write a layer's activations for each image", mariana::FeaturesVerb},
       {"export", "write a model as one .onnx or .safetensors file", mariana::ExportVerb},
       {"pack", "copy a set of images into tar shards", mariana::PackVerb},
       {"plan", "say what the machine of --machine would give, by devices, batch and exchange",
        mariana::PlanVerb},
       {"inspect", "say what a run directory, model or checkpoint holds", mariana::InspectVerb,
        false, "PATH"},
       {"document", "print the reference of config keys, or their JSON Schema",
        mariana::DocumentVerb, false, "markdown|schema"}}};
  return mariana::RunProgram(info, argc, argv);
}
