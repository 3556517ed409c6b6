#include "common/nn/transfer_check.h"

#include <algorithm>

#include "common/nn/compile.h"

namespace mariana {
namespace {

std::string NameOf(const SplitPlan& plan, int message) {
  const TransferMessage& m = plan.messages[static_cast<size_t>(message)];
  return StrCat(m.transfer < 0 ? "loss" : plan.transfers[static_cast<size_t>(m.transfer)].name,
                m.backward ? " (gradients)" : "", " from worker ", m.from, " to ", m.to);
}

std::string Holders(const Distribution& d) {
  std::string names;
  int holders = 0;
  for (size_t w = 0; w < d.held.size(); ++w) {
    if (d.held[w].empty()) continue;
    names += StrCat(holders++ > 0 ? ", " : "", w);
  }
  return StrCat(holders == 1 ? "worker " : "workers ", names);
}

}  // namespace

std::vector<TransferLine> DescribeTransfers(const SplitPlan& plan) {
  std::vector<TransferLine> lines;
  for (const Transfer& t : plan.transfers) {
    lines.push_back(
        {t.evaluation ? t.name + " (in evaluation)" : t.name, Holders(t.from), Holders(t.to)});
  }
  TransferLine loss{"loss", "all", "all"};
  for (const TransferMessage& m : plan.messages) {
    TransferLine& line = m.transfer < 0 ? loss : lines[static_cast<size_t>(m.transfer)];
    (m.backward ? line.backward_bytes : line.forward_bytes) += m.bytes;
  }
  if (plan.split_loss) lines.push_back(loss);
  return lines;
}

void CheckTransfers(const SplitPlan& plan, const std::vector<std::vector<TransferEvent>>& workers) {
  std::vector<int> offered(plan.messages.size(), 0), taken(plan.messages.size(), 0);
  std::vector<size_t> at(workers.size(), 0);
  const auto ready = [&](const TransferEvent& e) {
    const auto m = static_cast<size_t>(e.message);
    return e.what == TransferEvent::kReceive ? offered[m] > taken[m] : offered[m] == taken[m];
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (size_t w = 0; w < workers.size(); ++w) {
      for (; at[w] < workers[w].size() && ready(workers[w][at[w]]); ++at[w]) {
        const TransferEvent& e = workers[w][at[w]];
        if (e.what == TransferEvent::kOffer) ++offered[static_cast<size_t>(e.message)];
        if (e.what == TransferEvent::kReceive) ++taken[static_cast<size_t>(e.message)];
        moved = true;
      }
    }
  }
  std::string waiting;
  for (size_t w = 0; w < workers.size(); ++w) {
    if (at[w] == workers[w].size()) continue;
    waiting += StrCat("; worker ", w, " waits for ", NameOf(plan, workers[w][at[w]].message));
  }
  if (!waiting.empty()) throw Fail(ExitCode::kInternal, "transfers: deadlock", waiting);
  for (size_t m = 0; m < offered.size(); ++m) {
    if (offered[m] != taken[m]) {
      throw Fail(ExitCode::kInternal, "transfers: nobody takes ",
                 NameOf(plan, static_cast<int>(m)));
    }
  }
}

void CheckTransfers(const NetSpec& spec, const NetOptions& options, const SplitPlan& plan) {
  std::vector<std::vector<TransferEvent>> events;
  for (int w = 0; w < plan.workers; ++w) {
    const Graph graph = SplitGraph(plan, w, nullptr, CompileWhole(spec, options));
    events.push_back(EventsOf(plan, w, graph));
  }
  CheckTransfers(plan, events);
}

}  // namespace mariana
