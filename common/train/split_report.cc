#include "common/train/split_report.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "common/base/error.h"
#include "common/nn/compile.h"
#include "common/nn/split_transfers.h"
#include "common/nn/transfer_check.h"

namespace mariana {
namespace {

constexpr int kMostParts = 16;  // that advice is given about

double Mega(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

// With as many devices, `split` of them sharing a model.
int64_t RowsOf(const DataParallelOptions& o, int split) {
  const int groups = std::max(1, o.total() / split);
  return o.MostRows(groups, PlanNet(*o.net, o.NetFor(1)).group);
}

WorkerNeeds NeedsOfPlan(const NetPlan& plan, const DataParallelOptions& o, int groups,
                        int64_t rows) {
  WorkerNeeds needs;
  const int64_t arena = plan.arena_elements;
  needs.parameters = plan.parameters();
  needs.values = arena * (o.compute == Dtype::kBF16 ? 6 : 4);
  needs.gradients = arena * 4;
  const auto slots = static_cast<int64_t>(o.SlotNames().size()) + (o.ema > 0 ? 1 : 0);
  needs.optimizer = slots * 4 * ((arena + groups - 1) / groups);
  needs.activations = plan.activation_bytes;
  const int batches = plan.next_input_after >= 0 ? 1 : 2;  // one computed on, one coming
  needs.batches = batches * rows * o.input.elements() * SizeOf(o.compute);
  for (const OpInfo& op : plan.ops) needs.flops += op.flops;
  return needs;
}

std::vector<WorkerNeeds> NeedsOfSplit(const DataParallelOptions& o, const SplitSpec& split,
                                      int groups) {
  const int64_t rows = RowsOf(o, split.workers);
  NetOptions net = o.NetFor(rows);
  if (split.workers == 1) return {NeedsOfPlan(PlanNet(*o.net, net), o, groups, rows)};
  net.split = PlanSplitNet(*o.net, o.NetFor(1), split);
  std::vector<WorkerNeeds> needs;
  for (net.worker = 0; net.worker < split.workers; ++net.worker) {
    needs.push_back(NeedsOfPlan(PlanNet(*o.net, net), o, groups, rows));
  }
  return needs;
}

int64_t Most(const std::vector<WorkerNeeds>& needs) {
  int64_t most = 0;
  for (const WorkerNeeds& n : needs) most = std::max(most, n.bytes());
  return most;
}

// What each worker of a group of so many would need, were there one group; nothing where the
// job's placements need more workers.
std::optional<int64_t> MostWith(const DataParallelOptions& o, int split) {
  DataParallelOptions other = o;
  other.split.workers = split;
  other.devices.assign(static_cast<size_t>(split), o.devices[0]);
  other.ranks = nullptr;
  try {
    return Most(NeedsOfSplit(other, other.split, 1));
  } catch (const Error&) {
    return std::nullopt;
  }
}

void PrintOps(const SplitPlan& plan, const Graph& whole) {
  std::printf("\n%-28s %-10s %s\n", "layer", "split", "channels by worker");
  for (size_t i = 0; i < whole.ops.size(); ++i) {
    const OpSplit& op = plan.ops[i];
    const Distribution& y = plan.tensors[whole.ops[i].output];
    const std::string how = op.place >= 0                    ? StrCat("place ", op.place)
                            : op.kind == SplitKind::kRows    ? "rows"
                            : !Disjoint(y.held)              ? "none"
                            : op.kind == SplitKind::kOutputs ? "channels"
                                                             : "follows";
    std::string channels;
    for (const ChannelRange& c : y.held) {
      channels += c.empty() ? " -" : StrCat(" ", c.begin, "-", c.end);
    }
    std::printf("%-28s %-10s%s\n", whole.ops[i].name.c_str(), how.c_str(), channels.c_str());
  }
}

void PrintTransfers(const SplitPlan& plan, int64_t rows) {
  std::printf("\n%-36s %-18s %-18s %12s %12s\n", "transfer", "from", "to", "forward MB",
              "backward MB");
  double sum = 0;
  for (const TransferLine& t : DescribeTransfers(plan)) {
    std::printf("%-36s %-18s %-18s %12.3f %12.3f\n", t.name.c_str(), t.from.c_str(), t.to.c_str(),
                Mega(t.forward_bytes * rows), Mega(t.backward_bytes * rows));
    sum += Mega((t.forward_bytes + t.backward_bytes) * rows);
  }
  std::printf(
      "(between the %d workers of a group, a step of %lld samples: %.3f MB, %zu messages; "
      "no deadlock)\n",
      plan.workers, static_cast<long long>(rows), sum, plan.messages.size());
}

}  // namespace

std::vector<WorkerNeeds> NeedsOf(const DataParallelOptions& o) {
  return NeedsOfSplit(o, o.split, o.groups());
}

void CheckDeviceMemory(const DataParallelOptions& o, int64_t limit) {
  if (limit == 0) return;
  const std::vector<WorkerNeeds> needs = NeedsOf(o);
  if (Most(needs) <= limit) return;
  const auto worst = std::max_element(
      needs.begin(), needs.end(),
      [](const WorkerNeeds& a, const WorkerNeeds& b) { return a.bytes() < b.bytes(); });
  const auto mb = [](int64_t bytes) { return StrCat((bytes + 999999) / 1000000, " MB"); };
  std::string advice = "; no split fits: lower train.batch_size, or raise train.accumulate";
  for (int split = o.split.workers + 1; split <= kMostParts; ++split) {
    const std::optional<int64_t> most = MostWith(o, split);
    if (!most || *most > limit) continue;
    advice = StrCat("; with parallel.split=", split, " a worker needs ", mb(*most));
    break;
  }
  throw Fail(ExitCode::kUsage, "parallel.device_memory: worker ", worst - needs.begin(), " needs ",
             mb(worst->bytes()), " (values ", mb(worst->values), ", gradients ",
             mb(worst->gradients), ", optimizer ", mb(worst->optimizer), ", activations ",
             mb(worst->activations), ", batches ", mb(worst->batches), "), a device has ",
             mb(limit), advice);
}

void PrintSplit(const DataParallelOptions& o) {
  const std::vector<WorkerNeeds> needs = NeedsOf(o);
  if (o.split.workers > 1) {
    const NetOptions probe = o.NetFor(1);
    Graph whole = CompileNet(*o.net, probe, 1);
    const SplitPlan plan = PlanSplit(o.split, o.net->loss, &whole);
    CheckTransfers(*o.net, probe, plan);
    PrintOps(plan, whole);
    PrintTransfers(plan, RowsOf(o, o.split.workers) * o.accumulate);
  }
  std::printf("\n%-8s %12s %12s %10s %10s %10s %12s %10s %10s\n", "worker", "parameters", "MFLOP",
              "values", "gradients", "optimizer", "activations", "batches", "MB in all");
  for (size_t w = 0; w < needs.size(); ++w) {
    const WorkerNeeds& n = needs[w];
    std::printf("%-8zu %12lld %12.3f %10.1f %10.1f %10.1f %12.1f %10.1f %10.1f\n", w,
                static_cast<long long>(n.parameters), n.flops / 1e6, Mega(n.values),
                Mega(n.gradients), Mega(n.optimizer), Mega(n.activations), Mega(n.batches),
                Mega(n.bytes()));
  }
  std::printf("one group of");
  for (int split : {1, 2, 4, 8}) {
    const std::optional<int64_t> most = MostWith(o, split);
    if (most) std::printf("%s %d: %.0f MB a worker", split > 1 ? "," : "", split, Mega(*most));
  }
  std::printf(" (the whole batch)\n");
}

}  // namespace mariana
