#include <cstdio>

#include "common/base/error.h"
#include "common/data/images/pack.h"
#include "common/train/progress.h"
#include "common/train/signals.h"
#include "mariana_cnn/image_job.h"
#include "mariana_cnn/verbs.h"

namespace mariana {

int PackVerb(const CommandLine& cl) {
  const ImageJob job(cl);
  const PackSpec& spec = job.spec.pack;
  if (spec.folder.empty()) {
    throw Fail(ExitCode::kUsage, cl.config,
               ": pack.folder: needed by `pack`, e.g. pack.folder=shards");
  }
  const OpenedImages set = job.Open(job.spec.set, nullptr);
  Progress progress(cl.progress, Clock::Real(), stderr);
  progress.Begin("pack", set.images->size(), "images");
  PackOptions options;
  options.folder = spec.folder;
  options.name = NameOf(job.spec.set);
  options.shard_bytes = spec.shard_bytes;
  options.shuffle = spec.shuffle;
  options.seed = static_cast<uint64_t>(job.spec.seed);
  options.max_bad_fraction = job.spec.data.set(job.spec.set).max_bad_fraction;
  options.progress = [&](int64_t done, int64_t) {
    progress.Update(done, {});
    return !StopRequested();
  };
  const PackResult result = PackImages(*set.images, options);
  progress.End();
  for (const std::string& warning : result.warnings) {
    std::fprintf(stderr, "%s: warning: data.%s: %s\n", cl.program.c_str(), NameOf(job.spec.set),
                 warning.c_str());
  }
  if (result.stopped) return static_cast<int>(ExitCode::kStopped);
  std::printf("%lld images, %.1f MB, in %lld shards -> %s\n", static_cast<long long>(result.images),
              static_cast<double>(result.bytes) / 1e6, static_cast<long long>(result.shards),
              spec.folder.c_str());
  return 0;
}

}  // namespace mariana
