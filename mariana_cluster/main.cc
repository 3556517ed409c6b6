// mariana_cluster: trains click models on one node, with processes of their own for parameter
// servers and workers.
#include "mariana_cluster/verbs.h"

int main(int argc, char** argv) {
  const mariana::ProgramInfo info{
      "mariana_cluster",
      "Trains click-through models from raw logs with parameter servers and workers, and uses "
      "them.",
      {{"train", "train the job of --config", mariana::TrainVerb, true, "", true},
       {"evaluate", "score a model on files, by default the held-out rows", mariana::EvaluateVerb,
        true, "[FILE...]"},
       {"predict", "write what a model says of each row, a line each (- is standard input)",
        mariana::PredictVerb, true, "[FILE...]"},
       {"export", "write a model as one .safetensors file, or its sparse weights as .tsv",
        mariana::ExportVerb},
       {"inspect", "say what a run directory, model or checkpoint holds", mariana::InspectVerb,
        false, "PATH"},
       {"document", "print the reference of config keys, or their JSON Schema",
        mariana::DocumentVerb, false, "markdown|schema"},
       {"server", "", mariana::ServerVerb, false},
       {"worker", "", mariana::WorkerVerb, false}}};
  return mariana::RunProgram(info, argc, argv);
}
