#include "mariana_dnn/onnx_model.h"

#include "common/base/error.h"
#include "common/train/onnx/onnx_graph.h"
#include "common/train/version.h"
#include "mariana_dnn/evaluate.h"

namespace mariana {
namespace {

const char* NameOf(ForwardKind kind) {
  switch (kind) {
    case ForwardKind::kPosteriors: return "posteriors";
    case ForwardKind::kLogPosteriors: return "log_posteriors";
    case ForwardKind::kLogLikelihoods: return "log_likelihoods";
  }
  return "?";
}

std::string Normalise(const FrameTables& tables, const std::string& x, OnnxGraph* graph) {
  if (tables.mean.empty()) return x;
  const Shape row{static_cast<int64_t>(tables.mean.size())};
  const std::string centred =
      graph->Node("Sub", "input.centred", {x, graph->Floats("input.mean", row, tables.mean)});
  return graph->Node("Mul", "input.normalised",
                     {centred, graph->Floats("input.scale", row, tables.scale)});
}

// Row t of the result is rows t - left .. t + right of x, those beyond its ends repeated.
std::string Splice(const ContextSpec& context, int64_t dim, const std::string& x,
                   OnnxGraph* graph) {
  if (context.left == 0 && context.right == 0) return x;
  const auto number = [graph](const char* name, int64_t value) {
    return graph->Integers(name, Shape{}, {value});
  };
  std::vector<int64_t> offsets;
  for (int64_t k = -context.left; k <= context.right; ++k) offsets.push_back(k);
  const auto window = static_cast<int64_t>(offsets.size());

  const std::string zero = number("splice.zero", 0), one = number("splice.one", 1);
  const std::string shape = graph->Node("Shape", "splice.shape", {x});
  const std::string frames =
      graph->Node("Gather", "splice.frames", {shape, zero}, {{"axis", int64_t{0}}});
  const std::string last = graph->Node("Sub", "splice.last", {frames, one});
  const std::string times = graph->Node("Range", "splice.times", {zero, frames, one});
  const std::string column =
      graph->Node("Unsqueeze", "splice.column", {times, graph->Integers("splice.axis", {1}, {1})});
  const std::string wanted =
      graph->Node("Add", "splice.wanted",
                  {column, graph->Integers("splice.offsets", {1, window}, std::move(offsets))});
  const std::string rows = graph->Node("Clip", "splice.rows", {wanted, zero, last});
  const std::string windows =
      graph->Node("Gather", "splice.windows", {x, rows}, {{"axis", int64_t{0}}});
  return graph->Node("Reshape", "splice.spliced",
                     {windows, graph->Integers("splice.size", {2}, {-1, window * dim})});
}

std::string Output(ForwardKind kind, const std::vector<float>& prior, const std::string& y,
                   OnnxGraph* graph) {
  const std::vector<OpAttribute> columns = {{"axis", int64_t{1}}};
  if (kind == ForwardKind::kPosteriors) {
    return graph->Node("Softmax", "output.softmax", {y}, columns);
  }
  std::string log = graph->Node("LogSoftmax", "output.log_softmax", {y}, columns);
  if (kind == ForwardKind::kLogPosteriors) return log;
  const Shape row{static_cast<int64_t>(prior.size())};
  return graph->Node("Sub", "output.scaled",
                     {log, graph->Floats("output.log_prior", row, LogPrior(prior))});
}

}  // namespace

void ExportAcousticModel(const AcousticModel& model, ForwardKind kind, Net* net,
                         const std::string& path) {
  const FrameModel& spec = model.spec;
  if (kind == ForwardKind::kLogLikelihoods && model.tables.prior.empty()) {
    throw Fail(ExitCode::kBadData, model.path, ": has no priors, which log-likelihoods need: give ",
               "output.kind=log_posteriors");
  }
  OnnxGraph graph({"frames", Dtype::kF32, "frames", Shape{spec.feature_dim}},
                  {NameOf(kind), Dtype::kF32, "frames", Shape{spec.num_labels}});
  const std::string x =
      Splice(spec.context, spec.feature_dim, Normalise(model.tables, "frames", &graph), &graph);
  graph.Finish(Output(kind, model.tables.prior, net->Export(x, &graph), &graph));

  const bool inside = !model.tables.mean.empty();
  OnnxDescription description;
  description.producer = "mariana_dnn";
  description.version = kVersion;
  description.text = StrCat(
      "Acoustic model. Input: the frames of one utterance, ", spec.feature_dim, " values each",
      inside ? ", before normalisation" : ", normalised as `features` in mariana.model says",
      "; splicing is inside. Output: ", NameOf(kind), " of ", spec.num_labels,
      " labels for each frame.");
  description.metadata = model.metadata;
  graph.Write(description, path);
}

}  // namespace mariana
