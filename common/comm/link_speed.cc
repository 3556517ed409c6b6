#include "common/comm/link_speed.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace mariana {
namespace {

constexpr int64_t kProbeBytes = 1 << 20;
constexpr int kProbes = 3;
constexpr int64_t kLeastBytes = 64 << 10, kLeastBuckets = 8;
constexpr double kLatencyShare = 0.1;

// Latencies are those of a step through MPI's thread and the progress thread, not of the wire.
LinkSpeed Network(int kind) {
  if (kind == 0) return {100e-6, 12e6, "100 Mbit/s"};
  if (kind == 1) return {60e-6, 118e6, "1 Gbit/s"};
  return {30e-6, 1.2e9, "10 Gbit/s or more"};
}

}  // namespace

LinkSpeed MemorySpeed() { return {20e-6, 5e9, "shared memory"}; }

LinkSpeed ClassOf(double bytes_per_second) {
  const double decades = std::log10(std::max(bytes_per_second, 1.0) / Network(0).bytes_per_second);
  return Network(static_cast<int>(std::clamp(std::round(decades), 0.0, 2.0)));
}

LinkSpeed MeasureRanks(World* world) {
  const int next = (world->rank() + 1) % world->size();
  const int previous = (world->rank() + world->size() - 1) % world->size();
  const std::string probe(kProbeBytes, 'x');
  double best = 0;
  for (int i = 0; i < kProbes; ++i) {
    world->Barrier(World::kMeetingTag);
    const double start = world->clock()->NowSeconds();
    world->Send(next, World::kMeetingTag, probe);
    world->Receive(previous, World::kMeetingTag);
    const double seconds = std::max(world->clock()->NowSeconds() - start, 1e-9);
    best = std::max(best, static_cast<double>(kProbeBytes) / seconds);
  }
  double slowest = best;
  const std::string mine(reinterpret_cast<const char*>(&best), sizeof best);
  for (const std::string& other : world->Gather(mine, World::kMeetingTag)) {
    double theirs = 0;
    std::memcpy(&theirs, other.data(), sizeof theirs);
    slowest = std::min(slowest, theirs);
  }
  return ClassOf(slowest);
}

int64_t ChooseBucketBytes(int64_t arena_bytes, int workers, const LinkSpeed& slowest) {
  const double slice = slowest.latency_seconds * slowest.bytes_per_second / kLatencyShare;
  const double wanted = std::min(slice * workers, static_cast<double>(arena_bytes) / kLeastBuckets);
  int64_t bytes = kLeastBytes;
  while (2 * bytes <= static_cast<int64_t>(wanted)) bytes *= 2;
  return bytes;
}

int64_t BucketBytes(int64_t configured, int64_t arena_bytes, int workers, World* world,
                    std::string* why) {
  if (configured > 0) {
    *why = StrCat("of at least ", configured / 1024, " KiB: the config says so");
    return configured;
  }
  const bool ranks = world != nullptr && world->size() > 1;
  const LinkSpeed speed = ranks ? MeasureRanks(world) : MemorySpeed();
  const int64_t bytes = ChooseBucketBytes(arena_bytes, workers, speed);
  *why = StrCat("of at least ", bytes / 1024, " KiB: ", speed.name,
                ranks ? " as measured between ranks" : "");
  return bytes;
}

}  // namespace mariana
