#include "mariana_cluster/click_data.h"

namespace mariana {

ClickData OpenData(const JobSpec& job, bool fitted) {
  const ClickDataSpec& spec = job.data;
  ClickData data;
  data.train = std::make_unique<RowFiles>(std::vector<std::string>{spec.train}, spec.rows);
  const int count = static_cast<int>(spec.shards);
  data.train_shards = data.train->Shards(count);
  if (!spec.valid.empty()) {
    data.valid_files = std::make_unique<RowFiles>(std::vector<std::string>{spec.valid}, spec.rows);
    data.valid_shards = data.valid_files->Shards(count);
  } else if (spec.rows.held_out.kind != HeldOutKind::kNone) {
    data.valid_shards = data.train_shards;
  }
  if (!spec.joined.empty()) data.joined = std::make_unique<JoinedFeatures>(spec.joined);
  if (fitted) data.plan = std::make_unique<RowPlan>(spec.rows, job.click.has("net"));
  return data;
}

std::vector<RowShard> ShareOf(const std::vector<RowShard>& shards, int first, int of) {
  std::vector<RowShard> share;
  for (size_t i = static_cast<size_t>(first); i < shards.size(); i += static_cast<size_t>(of)) {
    share.push_back(shards[i]);
  }
  return share;
}

ClickScores::Options ScoreOptions(const JobSpec& job) {
  ClickScores::Options options;
  options.squared = job.click.loss == ClickLoss::kSquared;
  options.groups = !job.data.rows.group.empty();
  options.folder = job.data.cache.folder;
  return options;
}

}  // namespace mariana
