#include "common/nn/transfer_layers.h"

#include <glog/logging.h>

#include <algorithm>

namespace mariana {
namespace {

constexpr int64_t kScratchBytes = 256 << 10;  // of each of two pieces, to stay in the caches

// One worker's end of a transfer.
class TransferEnd : public Layer {
 public:
  TransferEnd(const Transfer& transfer, const TensorInfo& tensor, int worker, Transfers* transfers)
      : transfer_(transfer),
        tensor_(tensor.shape),
        dtype_(tensor.dtype),
        worker_(static_cast<size_t>(worker)),
        transfers_(transfers) {}
  Shape Infer(const std::vector<Shape>&) override {
    return WithChannels(tensor_, transfer_.width(static_cast<int>(worker_)));
  }
  std::string Export(const ExportArgs& a, GraphWriter*) const override {
    LOG(FATAL) << a.name << ": a part of a net has no graph of its own";
  }

  virtual void AddEvents(bool backward, std::vector<TransferEvent>* events) const = 0;

 protected:
  void AddOffers(const Transfer::Pass& pass, std::vector<TransferEvent>* events) const {
    for (const TransferPiece& p : pass.out[worker_]) {
      events->push_back({TransferEvent::kOffer, p.message});
    }
  }
  void AddReceives(const Transfer::Pass& pass, std::vector<TransferEvent>* events) const {
    for (const TransferPiece& p : pass.in[worker_]) {
      if (p.message >= 0) events->push_back({TransferEvent::kReceive, p.message});
    }
    for (const TransferPiece& p : pass.out[worker_]) {
      events->push_back({TransferEvent::kAwaitTaken, p.message});
    }
  }

  // Channels in memory, [rows * pixels, width]: those of a range but for a gap in it.
  struct Block {
    void* data;
    ChannelRange channels, gap;
    int64_t width() const { return channels.size() - gap.size(); }
  };

  bool Runs(const StepContext& step) const { return !transfer_.evaluation || !step.train; }
  Block From(const void* data) const {
    return {const_cast<void*>(data), transfer_.from.held[worker_], {}};
  }
  Block To(const void* data) const {
    return {const_cast<void*>(data), transfer_.to.held[worker_],
            transfer_.gap(static_cast<int>(worker_))};
  }

  LayerDecl DeclareScratch(const SetupArgs& args) {
    device_ = args.device;
    LayerDecl decl;
    const auto adds = [](const TransferPiece& p) { return p.add; };
    for (const auto* pass : {&transfer_.forward, &transfer_.backward}) {
      const auto& in = pass->in[worker_];
      if (std::any_of(in.begin(), in.end(), adds)) decl.saved_bytes = 2 * ScratchBytes();
    }
    return decl;
  }

  void Offer(const Transfer::Pass& pass, const Block& from, int64_t rows) const {
    for (const TransferPiece& p : pass.out[worker_]) {
      transfers_->Offer(p.message, {At(from, p.channels.begin, 0), from.width(),
                                    rows * PixelsOf(tensor_), p.channels.size(), dtype_});
    }
  }
  void AwaitTaken(const Transfer::Pass& pass) const {
    for (const TransferPiece& p : pass.out[worker_]) transfers_->AwaitTaken(p.message);
  }

  // `to` becomes the pieces of the pass, own ones of `from`.
  void Assemble(const Transfer::Pass& pass, const Block& from, const Block& to, int64_t rows,
                void* scratch) const {
    const int64_t lines = rows * PixelsOf(tensor_);
    const auto& pieces = pass.in[worker_];
    int64_t covered = 0;
    for (const TransferPiece& p : pieces) covered += p.add ? 0 : p.channels.size();
    const bool onto_own = transfer_.to.beside && &pass == &transfer_.backward;
    if (covered < to.width() && !onto_own) Clear(to, lines);
    for (const TransferPiece& p : pieces) {
      TransferRows source{nullptr, from.width(), lines, p.channels.size(), dtype_};
      if (p.message >= 0) {
        source = transfers_->Receive(p.message);
        CHECK(source.rows == lines && source.cols == p.channels.size()) << transfer_.name;
      } else {
        source.data = At(from, p.channels.begin, 0);
      }
      if (p.add) {
        AddPiece(source, to, p.channels, lines, scratch);
      } else if (source.data != At(to, p.channels.begin, 0)) {
        CopyPiece(source, to, p.channels, lines);
      }
      if (p.message >= 0) transfers_->Take(p.message);
    }
  }

 private:
  void* At(const Block& b, int64_t channel, int64_t line) const {
    const int64_t before = channel < b.gap.end ? 0 : b.gap.size();
    const int64_t i = line * b.width() + channel - b.channels.begin - before;
    return static_cast<char*>(b.data) + i * SizeOf(dtype_);
  }
  int64_t Widest() const {
    return std::max<int64_t>(
        1, std::max(transfer_.from.held[worker_].size(), transfer_.to.held[worker_].size()));
  }
  int64_t ScratchBytes() const { return std::max(kScratchBytes, 4 * Widest()); }

  void Clear(const Block& to, int64_t lines) const {
    device_->PlaceColumns(to.data, to.data, to.width(), 0, lines, 0, dtype_);
  }
  void CopyPiece(const TransferRows& source, const Block& to, const ChannelRange& c,
                 int64_t lines) const {
    device_->CopyColumns(source.data, source.stride, 0, At(to, c.begin, 0), to.width(), 0, lines,
                         c.size(), dtype_);
  }

  // Device::Add takes consecutive elements: what is not goes through scratch, some lines at a time.
  void AddPiece(const TransferRows& source, const Block& to, const ChannelRange& c, int64_t lines,
                void* scratch) const {
    const int64_t width = to.width(), cols = c.size(), size = SizeOf(dtype_);
    const bool dense = cols == width, dense_source = source.stride == cols;
    const int64_t most = dense && dense_source ? lines : ScratchBytes() / (cols * size);
    void* const own = static_cast<char*>(scratch) + ScratchBytes();
    for (int64_t line = 0; line < lines; line += most) {
      const int64_t n = std::min(most, lines - line);
      const void* x = static_cast<const char*>(source.data) + line * source.stride * size;
      void* const y = At(to, c.begin, line);
      if (!dense_source) {
        device_->CopyColumns(x, source.stride, 0, scratch, cols, 0, n, cols, dtype_);
        x = scratch;
      }
      if (dense) {
        device_->Add(y, x, y, n * cols, dtype_);
      } else {
        device_->CopyColumns(y, width, 0, own, cols, 0, n, cols, dtype_);
        device_->Add(own, x, own, n * cols, dtype_);
        device_->CopyColumns(own, cols, 0, y, width, 0, n, cols, dtype_);
      }
    }
  }

 protected:
  const Transfer& transfer_;
  const Shape tensor_;
  const Dtype dtype_;
  const size_t worker_;
  Transfers* const transfers_;
  Device* device_ = nullptr;
};

class Send : public TransferEnd {
 public:
  using TransferEnd::TransferEnd;
  const char* type() const override { return "send"; }
  void AddEvents(bool backward, std::vector<TransferEvent>* events) const override {
    if (transfer_.evaluation) return;
    backward ? AddReceives(transfer_.backward, events) : AddOffers(transfer_.forward, events);
  }

  LayerDecl Setup(const SetupArgs& args) override {
    LayerDecl decl = DeclareScratch(args);
    // A gradient that comes back as it is: not one that peers read or add to.
    const auto& in = transfer_.backward.in[worker_];
    decl.gradient_in_place = transfer_.backward.out[worker_].empty() && in.size() == 1 &&
                             in[0].message < 0 &&
                             transfer_.from.held[worker_] == transfer_.to.held[worker_];
    decl.gradient_adds = transfer_.to.beside;
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    if (Runs(step) && !a.x.empty()) Offer(transfer_.forward, From(a.x[0]), step.rows);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    if (!a.x.empty()) {
      Assemble(transfer_.backward, To(a.dy), From(a.dx[0]), step.rows, a.saved);
    }
    AwaitTaken(transfer_.backward);
  }
};

class Receive : public TransferEnd {
 public:
  using TransferEnd::TransferEnd;
  const char* type() const override { return "receive"; }
  void AddEvents(bool backward, std::vector<TransferEvent>* events) const override {
    if (transfer_.evaluation) return;
    backward ? AddOffers(transfer_.backward, events) : AddReceives(transfer_.forward, events);
  }

  LayerDecl Setup(const SetupArgs& args) override {
    LayerDecl decl = DeclareScratch(args);
    decl.gradient_in_place = true;
    decl.gradient_inputs = 1;  // the gate; x's is the sender's to write
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    if (!Runs(step)) return;
    Assemble(transfer_.forward, From(a.x.size() > 1 ? a.x[1] : nullptr), To(a.y), step.rows,
             a.saved);
    AwaitTaken(transfer_.forward);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    CHECK(a.dx[0] == a.dy) << "the gate's gradient is another's";
    Offer(transfer_.backward, To(a.dy), step.rows);
  }
};

}  // namespace

std::unique_ptr<Layer> MakeSendLayer(const Transfer& transfer, const TensorInfo& tensor, int worker,
                                     Transfers* transfers) {
  return std::make_unique<Send>(transfer, tensor, worker, transfers);
}

std::unique_ptr<Layer> MakeReceiveLayer(const Transfer& transfer, const TensorInfo& tensor,
                                        int worker, Transfers* transfers) {
  return std::make_unique<Receive>(transfer, tensor, worker, transfers);
}

std::vector<TransferEvent> EventsOf(const SplitPlan& plan, int worker, const Graph& graph) {
  std::vector<TransferEvent> events;
  const auto add = [&](const OpNode& op, bool backward) {
    const auto* end = dynamic_cast<const TransferEnd*>(op.layer.get());
    if (end != nullptr) end->AddEvents(backward, &events);
  };
  for (const OpNode& op : graph.ops) add(op, false);
  const auto w = static_cast<size_t>(worker);
  const auto on_loss = [&](TransferEvent::What what) {
    for (size_t other = 0; other < plan.loss_messages.size(); ++other) {
      const auto& messages = plan.loss_messages;
      const int m = what == TransferEvent::kReceive ? messages[other][w] : messages[w][other];
      if (m >= 0) events.push_back({what, m});
    }
  };
  on_loss(TransferEvent::kOffer);
  on_loss(TransferEvent::kReceive);
  on_loss(TransferEvent::kAwaitTaken);
  for (int op = static_cast<int>(graph.ops.size()) - 1; op >= 0; --op) {
    if (graph.RunsBackward(op)) add(graph.ops[op], true);
  }
  return events;
}

}  // namespace mariana
