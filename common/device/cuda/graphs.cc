// Pieces of a step as CUDA graphs. A piece runs as it is the first time under a key (libraries
// choose algorithms, scratch memory finds its size), is recorded the second time, and replayed from
// then on. What cannot be recorded goes on running as it is, and unrecorded() says why.
#include <map>
#include <utility>

#include "common/device/cuda/operations.h"

namespace mariana::cuda {
namespace {

constexpr size_t kMostGraphs = 256;  // of one net: its buckets, by the batch sizes there are

class Graphs : public Pieces {
 public:
  explicit Graphs(Context* context) : context_(context) {}
  ~Graphs() override {
    for (auto& [key, piece] : pieces_) {
      if (piece.graph != nullptr) cudaGraphExecDestroy(piece.graph);
    }
  }

  void Run(const Key& key, const std::function<void()>& queue) override {
    context_->Use();
    if (!reason_.empty()) return queue();
    if (pieces_.size() == kMostGraphs && pieces_.count(key) == 0) {
      reason_ = StrCat("more than ", kMostGraphs, " different pieces of steps");
      return queue();
    }
    Piece& piece = pieces_[key];
    if (piece.runs++ == 0) return queue();
    if (piece.graph == nullptr && !Record(queue, &piece.graph)) return queue();
    Check(cudaGraphLaunch(piece.graph, context_->compute), "cudaGraphLaunch");
    context_->Launched("recorded piece of a step");
  }
  std::string unrecorded() const override { return reason_; }

 private:
  struct Piece {
    int64_t runs = 0;
    cudaGraphExec_t graph = nullptr;
  };

  // False: it could not be, and nothing ran.
  bool Record(const std::function<void()>& queue, cudaGraphExec_t* exec) {
    // Other threads may go on calling what a recording thread may not.
    Check(cudaStreamBeginCapture(context_->compute, cudaStreamCaptureModeThreadLocal),
          "cudaStreamBeginCapture");
    std::string failure;
    try {
      queue();
    } catch (const Error& e) {
      failure = e.message();
    }
    cudaGraph_t graph = nullptr;
    cudaError_t status = cudaStreamEndCapture(context_->compute, &graph);
    if (status == cudaSuccess && failure.empty()) {
      status = cudaGraphInstantiate(exec, graph, 0);
    }
    if (graph != nullptr) cudaGraphDestroy(graph);
    if (status != cudaSuccess && failure.empty()) {
      failure = StrCat(cudaGetErrorString(status), " (", cudaGetErrorName(status), ")");
    }
    if (failure.empty()) return true;
    cudaGetLastError();
    reason_ = StrCat(context_->where(), ": steps run without graphs: ", failure);
    return false;
  }

  Context* const context_;
  std::map<Key, Piece> pieces_;
  std::string reason_;
};

}  // namespace

std::unique_ptr<Pieces> MakeGraphs(Context* context) { return std::make_unique<Graphs>(context); }

}  // namespace mariana::cuda
