#include "common/train/shared_net.h"

#include <glog/logging.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "common/base/error.h"
#include "common/comm/transfer_group.h"

namespace mariana {
namespace {

// The threads of all parts but the first.
class PartThreads {
 public:
  PartThreads(Clock* clock, int parts) : idle_(clock) {
    for (int part = 1; part < parts; ++part) {
      tasks_.push_back(std::make_unique<Queue<std::function<void()>>>(clock, 1));
      threads_.push_back(std::make_unique<ClockedThread>(clock, StrCat("part ", part),
                                                         [tasks = tasks_.back().get()] {
                                                           while (auto task = tasks->Pop())
                                                             (*task)();
                                                         }));
    }
  }
  ~PartThreads() {
    for (auto& tasks : tasks_) tasks->Close();
  }

  // fn(part) of all parts, the first one here.
  void Run(const std::function<void(int part)>& fn) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      running_ = static_cast<int>(tasks_.size());
    }
    for (size_t i = 0; i < tasks_.size(); ++i) {
      CHECK(tasks_[i]->Push([this, &fn, i] {
        fn(static_cast<int>(i) + 1);
        const std::lock_guard<std::mutex> lock(mutex_);
        if (--running_ == 0) idle_.NotifyAll();
      }));
    }
    fn(0);
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.Wait(&lock, [&] { return running_ == 0; });
  }

 private:
  std::mutex mutex_;
  CondVar idle_;
  int running_ = 0;
  std::vector<std::unique_ptr<Queue<std::function<void()>>>> tasks_;
  std::vector<std::unique_ptr<ClockedThread>> threads_;  // last: they end before what they use
};

class SharedNet : public Net {
 public:
  SharedNet(const NetSpec& spec, const NetOptions& options, const SplitSpec& split,
            std::vector<std::unique_ptr<Device>> others)
      : options_(options),
        others_(std::move(others)),
        plan_(PlanNet(spec, options)),
        clock_(options.clock ? options.clock : Clock::Real()),
        threads_(clock_, split.workers) {
    CHECK_EQ(static_cast<int>(others_.size()), split.workers - 1);
    if (!plan_.states.empty()) {
      throw Fail(ExitCode::kUsage, "parallel.split: not of a net with batch normalisation here");
    }
    NetOptions one = options;  // of what arenas, initial values and export need
    one.max_rows = 1;
    whole_ = Net::Build(spec, one);
    const auto plan = PlanSplitNet(spec, one, split);
    TransferOptions transfers;
    transfers.workers = split.workers;
    for (const TransferMessage& m : plan->messages) {
      transfers.routes.push_back({m.from, m.to, m.cols, m.dtype});
    }
    transfers.clock = clock_;
    transfers_ = std::make_unique<TransferGroup>(std::move(transfers));
    std::map<std::string, int> index;
    for (const ParamInfo& p : plan_.params) {
      index.emplace(p.name, static_cast<int>(plain_.size()));
      plain_.emplace_back(static_cast<size_t>(p.shape.elements()));
    }
    for (int w = 0; w < split.workers; ++w) {
      NetOptions part = options;
      part.device = w == 0 ? options.device : others_[static_cast<size_t>(w) - 1].get();
      part.split = plan;
      part.worker = w;
      part.transfers = transfers_->end(w);
      parts_.push_back(Net::Build(spec, part));
      auto& params = whole_param_.emplace_back();
      for (const ParamInfo& p : parts_.back()->params()) params.push_back(index.at(p.name));
    }
  }

  const NetOptions& options() const override { return options_; }
  const NetPlan& plan() const override { return plan_; }

  float* values() override {
    changed_ = true;
    return whole_->values();
  }
  float* grads() override { return whole_->grads(); }
  uint16_t* values16() override { return nullptr; }  // the parts have shadows
  Tensor state() override { return whole_->state(); }
  void Initialize(uint64_t seed) override {
    whole_->Initialize(seed);
    changed_ = true;
  }
  void PackParam(int i, const float* plain, float* slot) const override {
    whole_->PackParam(i, plain, slot);
  }
  void UnpackParam(int i, const float* slot, float* plain) const override {
    whole_->UnpackParam(i, slot, plain);
  }
  void RefreshShadow(int64_t, int64_t) override { changed_ = true; }

  void Forward(const StepContext& step, const Tensor& input,
               const std::function<void(int op)>& before_op) override {
    CHECK(!before_op) << "its values are there when Forward begins";
    if (std::exchange(changed_, false)) SpreadValues();
    OnAll([&](int part) { parts_[part]->Forward(step, input); });
  }
  Tensor outputs() override { return parts_[0]->outputs(); }
  LossSums Loss(const StepContext& step, const Tensor& labels) override {
    LossSums sums;
    OnAll([&](int part) {
      const LossSums own = parts_[part]->Loss(step, labels);
      if (part == 0) sums = own;
    });
    return sums;
  }
  void AddLoss(const StepContext& step, const Tensor& labels, LossSums* sums) override {
    OnAll([&](int part) { parts_[part]->AddLoss(step, labels, sums); });
  }
  // What the caller writes there is every part's, where all have the whole output.
  Tensor output_gradient() override {
    given_ = parts_[0]->output_gradient();
    return given_;
  }
  void Backward(const StepContext& step, const Tensor& input,
                const std::function<void(int op)>& after_op) override {
    CHECK(!after_op) << "its gradients are there when Backward ends";
    const Tensor given = std::exchange(given_, Tensor());
    OnAll([&](int part) {
      const Tensor own = parts_[part]->output_gradient();
      if (part > 0 && !given.empty() && own.bytes() == given.bytes()) {
        parts_[part]->options().device->Copy(own.data(), given.data(), given.bytes());
      }
      parts_[part]->Backward(step, input);
    });
    CollectGradients();
  }
  Tensor input_gradient() override { return parts_[0]->input_gradient(); }
  Tensor next_input() override { return {}; }
  float* batch_stats() override { return whole_->batch_stats(); }
  void UpdateRunning(const float*, const std::vector<int32_t>&) override {}

  std::string Export(const std::string& input, GraphWriter* graph) override {
    return whole_->Export(input, graph);
  }
  void CallAt(std::vector<bool>, std::vector<bool>) override {}  // there are no calls
  std::string unrecorded() const override { return parts_[0]->unrecorded(); }
  void EnableProfile(bool on) override { parts_[0]->EnableProfile(on); }
  std::vector<std::pair<double, double>> TakeProfile() override { return parts_[0]->TakeProfile(); }

 private:
  // The first failure wakes whoever waits for the part that failed.
  void OnAll(const std::function<void(int part)>& fn) {
    threads_.Run([&](int part) {
      try {
        fn(part);
      } catch (const Error& e) {
        SetFailure(e);
      } catch (const std::exception& e) {
        SetFailure(Error(ExitCode::kInternal, e.what()));
      }
    });
    const std::lock_guard<std::mutex> lock(mutex_);
    if (failure_) throw *failure_;
  }
  void SetFailure(const Error& error) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (failure_) return;
      failure_ = error;
    }
    transfers_->Abort(error);
  }

  // Whole parameters are unpacked and packed by turns, a part of them on each thread; what parts
  // take from plain ones and put there does not overlap, but for what only one puts.
  template <class F>
  void ForShare(int part, const F& fn) {
    for (size_t i = static_cast<size_t>(part); i < plan_.params.size(); i += parts_.size()) {
      fn(static_cast<int>(i), plan_.params[i], plain_[i].data());
    }
  }
  void SpreadValues() {
    const float* const values = whole_->values();
    OnAll([&](int part) {
      ForShare(part, [&](int i, const ParamInfo& p, float* plain) {
        whole_->UnpackParam(i, values + p.offset, plain);
      });
    });
    OnAll([&](int part) {
      Net* const net = parts_[part].get();
      std::vector<float> own;
      for (size_t i = 0; i < net->params().size(); ++i) {
        const ParamInfo& p = net->params()[i];
        own.resize(static_cast<size_t>(p.shape.elements()));
        TakePart(plain_[whole_param_[part][i]].data(), p.part, p.shape, own.data());
        net->PackParam(static_cast<int>(i), own.data(), net->values() + p.offset);
      }
      net->RefreshShadow(0, net->arena_elements());
    });
  }
  void CollectGradients() {
    OnAll([&](int part) {
      Net* const net = parts_[part].get();
      std::vector<float> own;
      for (size_t i = 0; i < net->params().size(); ++i) {
        const ParamInfo& p = net->params()[i];
        if (!p.counts) continue;
        own.resize(static_cast<size_t>(p.shape.elements()));
        net->UnpackParam(static_cast<int>(i), net->grads() + p.offset, own.data());
        PlacePart(own.data(), p.part, p.shape, plain_[whole_param_[part][i]].data());
      }
    });
    OnAll([&](int part) {
      ForShare(part, [&](int i, const ParamInfo& p, const float* plain) {
        whole_->PackParam(i, plain, whole_->grads() + p.offset);
      });
    });
  }

  const NetOptions options_;
  const std::vector<std::unique_ptr<Device>> others_;
  const NetPlan plan_;
  Clock* const clock_;
  std::unique_ptr<Net> whole_;  // the arenas; it computes nothing
  std::unique_ptr<TransferGroup> transfers_;
  std::vector<std::unique_ptr<Net>> parts_;
  std::vector<std::vector<int>> whole_param_;  // by part and parameter: its index in the whole
  std::vector<std::vector<float>> plain_;      // by parameter of the whole
  bool changed_ = true;                        // the arena's values, since the parts had them
  Tensor given_;                               // gradient of the outputs, perhaps of the caller's
  std::mutex mutex_;
  std::optional<Error> failure_;
  PartThreads threads_;  // last: they end before what they use
};

}  // namespace

std::unique_ptr<Net> MakeSharedNet(const NetSpec& spec, const NetOptions& options,
                                   const SplitSpec& split,
                                   std::vector<std::unique_ptr<Device>> others) {
  return std::make_unique<SharedNet>(spec, options, split, std::move(others));
}

}  // namespace mariana
