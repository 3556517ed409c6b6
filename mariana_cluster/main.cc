// mariana_cluster: trains click models, and nets on frames of speech, on one node or several, with
// processes of their own for parameter servers and workers.
#include "mariana_cluster/verbs.h"

int main(int argc, char** argv) {
  const mariana::ProgramInfo info{
      "mariana_cluster",
      "Trains click-through models from raw logs, and nets on frames of speech, with parameter "
      "servers and workers that need not wait for each other; and uses click models.",
      {{"train", "train the job of --config", mariana::TrainVerb, true, "", true, true},
       {"submit", "start the job of --config in the background, on --nodes nodes",
        mariana::SubmitVerb},
       {"status", "say how a running job is", mariana::StatusVerb, false, "[RUN]"},
       {"trace", "watch its processes, or record them into a Chrome trace", mariana::TraceVerb,
        false, "[RUN]"},
       {"stop", "have it save and stop, and wait for that", mariana::StopVerb, false, "[RUN]"},
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
       {"worker", "", mariana::WorkerVerb, false}},
      {"nodes", "seconds", "output"}};
  return mariana::RunProgram(info, argc, argv);
}
