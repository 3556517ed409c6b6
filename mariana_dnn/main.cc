// mariana_dnn: trains acoustic models, data-parallel over the devices of a machine.
#include "mariana_dnn/verbs.h"

int main(int argc, char** argv) {
  const mariana::ProgramInfo info{
      "mariana_dnn",
      "Trains speech acoustic models on one or several devices, and uses them.",
      {{"train", "train the job of --config", mariana::TrainVerb, true, "", true, true},
       {"evaluate", "score a model on held-out utterances", mariana::EvaluateVerb},
       {"forward", "write (scaled log) posteriors of utterances as a Kaldi archive",
        mariana::ForwardVerb},
       {"features", "write the normalised input features as a Kaldi archive",
        mariana::FeaturesVerb},
       {"export", "write a model as one .safetensors file", mariana::ExportVerb},
       {"plan", "say what the machine of --machine would give, by devices, batch and exchange",
        mariana::PlanVerb},
       {"inspect", "say what a run directory, model, checkpoint, scp or archive holds",
        mariana::InspectVerb, false, "PATH"},
       {"document", "print the reference of config keys, or their JSON Schema",
        mariana::DocumentVerb, false, "markdown|schema [machine]"}}};
  return mariana::RunProgram(info, argc, argv);
}
