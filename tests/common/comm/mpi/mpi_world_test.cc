// Ranks that mpirun starts: the visible cases start this very program under it, with one of the
// hidden cases.
#include "common/comm/mpi/mpi_world.h"

#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "common/base/files.h"
#include "common/base/random.h"
#include "common/comm/exchange.h"

namespace mariana {
namespace {

struct Outcome {
  int status = 0;
  std::string output;  // stdout and stderr of all ranks
};

Outcome RunRanks(int n, const std::string& test) {
  char self[4096] = "";
  REQUIRE(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  // mpirun names its files after its process id, which several sandboxes may have at a time.
  char folder[] = "/tmp/ranks.XXXXXX";
  REQUIRE(mkdtemp(folder) != nullptr);
  const std::string command = StrCat(
      "TMPDIR=", folder, " timeout 60 mpirun -np ", n,
      " --oversubscribe --bind-to none --mca btl_vader_backing_directory ", folder,
      " --mca btl self,vader,tcp --mca btl_tcp_if_include lo '", self, "' '", test, "' 2>&1");
  std::FILE* const pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  Outcome outcome;
  char buffer[4096];
  for (size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    outcome.output.append(buffer, got);
  }
  outcome.status = pclose(pipe);
  for (int r = 0; r < n; ++r) {
    const std::string said = StrCat(folder, "/ended.", r);
    if (access(said.c_str(), F_OK) == 0) outcome.output += ReadFile(said);
  }
  std::filesystem::remove_all(folder);
  return outcome;
}

TEST_CASE("ranks under mpirun end in the same bits as one process") {
  const Outcome outcome = RunRanks(3, "[same bits]");
  INFO(outcome.output);
  CHECK(outcome.status == 0);
}

TEST_CASE("a failure on one rank wakes the others, and mpirun does not return 0") {
  const Outcome outcome = RunRanks(3, "[failure]");
  INFO(outcome.output);
  CHECK(outcome.status != 0);
  for (int r = 0; r < 3; ++r) {
    CHECK_THAT(outcome.output, Catch::Contains(StrCat("rank ", r, " ends: worker 1 (rank 1, ")));
  }
  CHECK_THAT(outcome.output, Catch::Contains("backward: loss is not finite"));
}

TEST_CASE("started plainly, a program is a world of its own") {
  REQUIRE(!StartedByMpi());
  const auto world = MakeWorld();
  CHECK(world->size() == 1);
  CHECK(world->Gather("x") == std::vector<std::string>{"x"});
}

// ---- of a rank

constexpr int kSteps = 2;
const std::vector<Range> kBuckets = {{0, 5}, {16, 16}, {16, 1107}, {1120, 100000}};

float Gradient(int step, int worker, int64_t i) {
  return 2 * ToUnit(Philox(step, worker, static_cast<uint64_t>(i)).v[0]) - 1;
}

// The values of every worker here after some steps of the options' job.
std::vector<std::vector<float>> Train(const ExchangeOptions& o, int rank) {
  const size_t elements = static_cast<size_t>(kBuckets.back().end);
  std::vector<int> here;
  for (int w = 0; w < o.workers; ++w) {
    if (o.world == nullptr || o.rank_of[w] == rank) here.push_back(w);
  }
  std::vector<std::vector<float>> grads(here.size(), std::vector<float>(elements)), values = grads;
  const auto group = ExchangeGroup::Make(o);
  std::vector<std::thread> threads;
  for (size_t k = 0; k < here.size(); ++k) {
    Exchange* const e = group->Join(here[k], nullptr, grads[k].data(), values[k].data(), nullptr);
    threads.emplace_back([&, k, e] {
      for (int step = 0; step < kSteps; ++step) {
        for (int b = static_cast<int>(kBuckets.size()); b-- > 0;) {
          for (int64_t i = kBuckets[b].begin; i < kBuckets[b].end; ++i) {
            grads[k][i] = Gradient(step, here[k], i);
          }
          e->Collect(b);
        }
        e->FinishCollect();
        e->Commit({});
        for (int b = 0; b < static_cast<int>(kBuckets.size()); ++b) {
          const Range own = e->Owned(b);
          for (int64_t i = own.begin; i < own.end; ++i) values[k][i] -= grads[k][i];
          e->Distribute(b);
        }
        for (int b = 0; b < static_cast<int>(kBuckets.size()); ++b) e->WaitValues(b);
      }
    });
  }
  for (auto& t : threads) t.join();
  return values;
}

double CpuSeconds() {
  rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + 1e-6 * (u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

TEST_CASE("a rank", "[.][same bits]") {
  const auto world = MakeWorld();
  const int rank = world->rank(), size = world->size();
  REQUIRE(size == 3);
  CHECK(world->Broadcast(1, rank == 1 ? "from 1" : "") == "from 1");
  CHECK(world->Sum({1.0 * rank, 1e16 * (rank == 0) - 1e16 * (rank == 2), 1})[0] == 3);
  const std::string large(3 << 20, static_cast<char>('a' + rank));
  const auto all = world->GatherTo(2, large);
  CHECK(all.size() == (rank == 2 ? 3 : 0));
  for (size_t r = 0; r < all.size(); ++r) CHECK(all[r] == std::string(3 << 20, "abc"[r]));
  std::string ring;  // point to point, several on their way
  for (int i = 0; i < 5; ++i) world->Send((rank + 1) % size, World::kFirstFreeTag, StrCat(i));
  for (int i = 0; i < 5; ++i) ring += world->Receive((rank + 2) % size, World::kFirstFreeTag);
  CHECK(ring == "01234");

  const Wire wires[] = {Wire::kF32, Wire::kBf16, Wire::kF16};
  for (Topology t : {Topology::kLinear, Topology::kRing, Topology::kTwoLevel}) {
    for (const int per_rank : {1, 2}) {
      ExchangeOptions o;
      o.topology = t;
      o.workers = 3 * per_rank;
      o.buckets = kBuckets;
      o.chunk_elements = 20000;
      o.collect_wire = per_rank == 1 ? Wire::kF32 : wires[static_cast<int>(t)];
      o.distribute_wire = o.collect_wire;
      for (int w = 0; w < o.workers; ++w) {
        o.rank_of.push_back(w / per_rank);
        o.node_of.push_back(w / per_rank);
      }
      CAPTURE(rank, Name(t), per_rank, Name(o.collect_wire));
      const auto alone = Train(o, rank);
      o.world = world.get();
      const auto together = Train(o, rank);
      REQUIRE(static_cast<int>(together.size()) == per_rank);
      for (int k = 0; k < per_rank; ++k) CHECK(together[k] == alone[per_rank * rank + k]);
    }
  }
  // Who waits for others sleeps.
  const double before = CpuSeconds();
  if (rank == 0) Clock::Real()->SleepFor(1000000000);
  world->Barrier();
  CHECK(CpuSeconds() - before < 0.5);
}

TEST_CASE("a rank that fails, or hears of it", "[.][failure]") {
  const auto world = MakeWorld();
  ExchangeOptions o;
  o.workers = 3;
  o.buckets = {{0, 100000}};
  o.world = world.get();
  o.rank_of = {0, 1, 2};
  std::vector<float> grads(100000), values(100000);
  try {  // the news may come as early as this
    const auto group = ExchangeGroup::Make(o);
    Exchange* const e = group->Join(world->rank(), nullptr, grads.data(), values.data(), nullptr);
    if (world->rank() == 1) group->Abort(1, "backward", 76, "loss is not finite");
    e->Collect(0);
    e->FinishCollect();
    e->Commit({});
    FAIL("nobody failed");
  } catch (const Error& error) {
    CHECK_THROWS_AS(world->Barrier(), Error);
    // mpirun kills the others when one has ended, and may lose what they said: so each writes it
    // down, and goes when all have.
    const std::string folder = getenv("TMPDIR");
    const auto place = [&](int r) { return StrCat(folder, "/ended.", r); };
    WriteFileAtomic(place(world->rank()),
                    StrCat("rank ", world->rank(), " ends: ", error.message(), "\n"));
    for (int r = 0; r < 3; ++r) {
      while (access(place(r).c_str(), F_OK) != 0) usleep(1000);
    }
    CHECK(static_cast<int>(error.code()) == 0);  // this rank's status is not 0
  }
}

}  // namespace
}  // namespace mariana
