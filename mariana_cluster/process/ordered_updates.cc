#include "mariana_cluster/process/ordered_updates.h"

#include <glog/logging.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <utility>

#include "common/base/error.h"
#include "mariana_cluster/table/table_shard.h"

namespace mariana {
namespace {

constexpr int kMaxBlocks = 1024;
int64_t RoundUp(int64_t n) { return (n + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes; }

}  // namespace

struct OrderedUpdates::Block {
  alignas(64) std::atomic<int64_t> rounds;  // in which it has been put
  int64_t end[kMaxServers];                 // of each server's section
};

struct OrderedUpdates::Shared {
  int32_t blocks, servers;
  int64_t block_bytes;
  std::atomic<int64_t> last_round;
  struct alignas(64) Server {
    std::atomic<int64_t> rounds;  // applied
  } server[kMaxServers];
  Block block[kMaxBlocks];
};

OrderedUpdates OrderedUpdates::Create(int blocks, int servers, int64_t block_bytes) {
  CHECK(blocks > 0 && blocks <= kMaxBlocks && servers > 0 && servers <= kMaxServers);
  const int64_t each = RoundUp(block_bytes);
  OrderedUpdates updates(
      SharedMemory::Create("mariana ordered updates", RoundUp(sizeof(Shared)) + blocks * each));
  updates.memory_.Commit(0, sizeof(Shared));
  Shared& s = *updates.shared_;
  s.blocks = blocks;
  s.servers = servers;
  s.block_bytes = each;
  s.last_round = std::numeric_limits<int64_t>::max();
  updates.committed_.assign(static_cast<size_t>(blocks), 0);
  return updates;
}

OrderedUpdates OrderedUpdates::Attach(int fd) {
  OrderedUpdates updates(SharedMemory::Attach(fd, "mariana ordered updates"));
  updates.committed_.assign(static_cast<size_t>(updates.shared_->blocks), 0);
  return updates;
}

OrderedUpdates::OrderedUpdates(SharedMemory memory)
    : memory_(std::move(memory)), shared_(reinterpret_cast<Shared*>(memory_.data())) {}

int OrderedUpdates::blocks() const { return shared_->blocks; }
int OrderedUpdates::servers() const { return shared_->servers; }
OrderedUpdates::Block* OrderedUpdates::BlockAt(int block) const { return shared_->block + block; }
char* OrderedUpdates::BytesOf(int block) const {
  return memory_.data() + RoundUp(sizeof(Shared)) + block * shared_->block_bytes;
}

bool OrderedUpdates::Await(Board* board, int64_t round) {
  for (int s = 0; s < servers(); ++s) {
    board->Wait([&] { return shared_->server[s].rounds.load(std::memory_order_acquire) >= round; },
                StrCat("server ", s, " to apply round ", round - 1));
  }
  return round <= shared_->last_round.load(std::memory_order_acquire);
}

void OrderedUpdates::Put(Board* board, int64_t round, int block,
                         const std::vector<std::string_view>& sections) {
  CHECK_EQ(sections.size(), static_cast<size_t>(servers()));
  Block* to = BlockAt(block);
  CHECK_EQ(to->rounds.load(), round) << "block " << block << " was put twice";
  int64_t bytes = 0;
  for (const std::string_view s : sections) bytes += static_cast<int64_t>(s.size());
  if (bytes > shared_->block_bytes) {
    throw Fail(ExitCode::kUsage, "a block's updates take ", bytes, " bytes, and ",
               shared_->block_bytes, " are set apart: smaller blocks need less");
  }
  if (int64_t& committed = committed_[static_cast<size_t>(block)]; bytes > committed) {
    memory_.Commit(BytesOf(block) - memory_.data() + committed, bytes - committed);
    committed = RoundUp(bytes);
  }
  int64_t end = 0;
  for (size_t s = 0; s < sections.size(); ++s) {
    std::copy(sections[s].begin(), sections[s].end(), BytesOf(block) + end);
    end += static_cast<int64_t>(sections[s].size());
    to->end[s] = end;
  }
  to->rounds.store(round + 1, std::memory_order_release);
  board->Announce();
}

int64_t OrderedUpdates::RoundsPut(int block) const {
  return BlockAt(block)->rounds.load(std::memory_order_acquire);
}

void OrderedUpdates::EndAfter(int64_t round) {
  int64_t last = shared_->last_round.load();
  while (round < last && !shared_->last_round.compare_exchange_weak(last, round)) {
  }
}

void OrderedUpdates::Continue() { shared_->last_round = std::numeric_limits<int64_t>::max(); }

bool OrderedUpdates::Apply(Board* board, int server, int64_t round,
                           const std::function<void(int block, std::string_view section)>& f) {
  const auto over = [&] { return shared_->last_round.load(std::memory_order_acquire) < round; };
  // All of them first: as long as one is computed, the parameters stand still.
  for (int b = 0; b < blocks(); ++b) {
    board->Wait(
        [&] { return BlockAt(b)->rounds.load(std::memory_order_acquire) > round || over(); },
        StrCat("block ", b, " of round ", round));
    if (over()) return false;
  }
  for (int b = 0; b < blocks(); ++b) {
    const int64_t* end = BlockAt(b)->end;
    const int64_t begin = server == 0 ? 0 : end[server - 1];
    f(b, std::string_view(BytesOf(b) + begin, static_cast<size_t>(end[server] - begin)));
  }
  shared_->server[server].rounds.store(round + 1, std::memory_order_release);
  board->Announce();
  return true;
}

void OrderedUpdates::StartAt(int64_t round) {
  for (int s = 0; s < servers(); ++s) shared_->server[s].rounds = round;
  for (int b = 0; b < blocks(); ++b) BlockAt(b)->rounds = round;
}

}  // namespace mariana
