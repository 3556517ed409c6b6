// train --check: opens the data, reads the first rows, builds the net, and prints the plan.
#include <algorithm>
#include <cstdio>

#include "common/base/error.h"
#include "common/data/rows/fit_numbers.h"
#include "common/data/rows/row_reader.h"
#include "common/train/ranks.h"
#include "common/train/train_plan.h"
#include "mariana_cluster/agent_task.h"
#include "mariana_cluster/click_data.h"
#include "mariana_cluster/feed/estimate_rows.h"
#include "mariana_cluster/learner.h"
#include "mariana_cluster/verbs.h"

namespace mariana {
namespace {

constexpr int64_t kFitRows = 20'000;  // what there is time for

long long Printed(int64_t n) { return static_cast<long long>(n); }
double Mega(int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

// A few rows of a set, which tells whether they can be read at all.
void ReadFirstRows(const RowPlan& plan, const RowFiles& files, RowPart part) {
  BadRows bad(plan.spec().max_bad_fraction,
              [](const std::string& what) { std::printf("malformed: %s\n", what.c_str()); });
  RowReader::Options options;
  options.part = part;
  RowBatch batch;
  const std::vector<RowShard> shards = files.Shards(1);
  RowReader reader(Clock::Real(), &plan, &files, shards, options, &bad);
  if (!reader.Next(&batch)) {
    throw Fail(ExitCode::kBadData, files[0].path, ": no rows for ",
               part == RowPart::kHeldOut ? "evaluation" : "training");
  }
  bad.Check(true);
}

void PrintFiles(const char* name, const RowPlan& plan, const RowFiles& files,
                const std::vector<RowShard>& shards, RowPart part) {
  const int64_t rows = EstimateRows(plan, files, shards, part);
  std::printf("%s: %d files, %.1f MB, ", name, files.size(), Mega(files.total_bytes()));
  if (rows < 0) {
    std::printf("an unknown number of rows\n");
  } else {
    std::printf("about %lld rows\n", Printed(rows));
  }
}

void PrintTables(const JobSpec& job, int nodes, const std::vector<ClickTable>& tables) {
  std::printf("%-24s %-8s %8s %14s %12s %12s %14s\n", "table", "form", "weights", "rows",
              "bytes a row", "GB", "GB a server");
  double total = 0;
  const auto servers = static_cast<double>(nodes * job.parallel.servers);
  for (const ClickTable& t : tables) {
    const bool keyed = t.spec.form == TableForm::kKeyed;
    const RowLayout layout = MakeRowLayout(t.spec.parts, keyed);
    const int64_t rows = keyed ? t.spec.max_rows : int64_t{1} << t.spec.bits;
    const double gigabytes = static_cast<double>(rows) * layout.stride * 1e-9;
    std::printf("%-24s %-8s %8d %14lld %12d %12.3f %14.3f\n", t.spec.name.c_str(),
                keyed ? "keyed" : "hashed", layout.width, Printed(rows), layout.stride, gigabytes,
                gigabytes / servers);
    total += gigabytes;
  }
  std::printf("memory: %.3f GB, %.3f GB a server\n", total, total / servers);
  if (job.click.rows.form == TableForm::kKeyed) {
    std::printf("(at most: memory is taken as keys come; their index needs about 12 bytes each)\n");
  }
}

}  // namespace

void CheckClicks(const CommandLine& cl, JobSpec* job) {
  if (NeedsFit(job->data.rows)) {
    FitNumbers(*OpenData(*job, false).train, kFitRows, &job->data.rows);
  }
  const ClickData data = OpenData(*job, true);
  ReadFirstRows(*data.plan, *data.train, RowPart::kTrain);
  if (data.has_valid()) ReadFirstRows(*data.plan, data.valid(), data.valid_part());
  PrintFiles("data.train", *data.plan, *data.train, data.train_shards, RowPart::kTrain);
  if (data.has_valid()) {
    PrintFiles("held out", *data.plan, data.valid(), data.valid_shards, data.valid_part());
  }
  std::printf("features: %zu fields, %lld dense columns; batches of %lld rows\n\n",
              data.plan->FieldNames().size(),
              Printed(data.plan->dense_columns() + data.joined_columns()),
              Printed(job->train.batch_size));
  PrintTables(*job, cl.ranks->size(),
              MakeClickTables(job->click, *data.plan, static_cast<uint64_t>(job->seed)));
  const std::unique_ptr<Device> device = MakeAgentDevice(cl.device, job->train);
  const auto model = MakeClickModel(*job, *data.plan, data.joined_columns(), device.get());
  if (model->net() != nullptr) {
    std::printf("\n");
    PrintLayers(model->net()->plan(), static_cast<int>(job->parallel.workers));
  }
}

namespace {

void PrintProcesses(const JobSpec& job, int nodes) {
  const ClusterSpec& p = job.parallel;
  if (p.deterministic) {
    std::printf("processes: %lld servers, %lld workers, deterministic, %lld blocks a round\n",
                Printed(p.servers), Printed(p.workers), Printed(p.blocks));
    return;
  }
  if (nodes > 1) std::printf("nodes: %d, each with\n", nodes);
  std::printf("processes: %lld servers, %lld workers; data in %d lanes\n", Printed(p.servers),
              Printed(p.workers), LaneCount(job, nodes));
  if (nodes == 1) return;
  std::printf("rows: shards of %d servers, by the first bits of the key:",
              nodes * static_cast<int>(p.servers));
  for (int n = 0; n < nodes; ++n) {
    std::printf("%s node %d has %lld/%lld to %lld/%lld", n == 0 ? "" : ",", n,
                Printed(n * p.servers), Printed(nodes * p.servers), Printed((n + 1) * p.servers),
                Printed(nodes * p.servers));
  }
  std::printf("; a net's parameters: on every node\n");
}

}  // namespace

int CheckJob(const CommandLine& cl) {
  JobSpec job;
  LoadConfig({cl.config, cl.overrides}, [&job](Fields* f) { job.Describe(f); });
  job.parallel.workers = WorkerCount(job.parallel, cl.ranks->core_sharers());
  CheckNodes(job.parallel, cl.ranks->size());
  std::printf("%s: %s\n", cl.config.c_str(), job.name.c_str());
  PrintProcesses(job, cl.ranks->size());
  (job.trains_frames() ? CheckFrames : CheckClicks)(cl, &job);
  std::printf("ok\n");
  return 0;
}

}  // namespace mariana
