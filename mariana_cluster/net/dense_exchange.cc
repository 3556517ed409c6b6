#include "mariana_cluster/net/dense_exchange.h"

#include <algorithm>
#include <utility>

namespace mariana {
namespace {

constexpr int64_t kHeader = sizeof(FrameHeader);
constexpr size_t kUnderWay = 8;         // slices
constexpr double kIdleSeconds = 0.002;  // after a round that moved nothing

bool AnyButZero(const float* x, int64_t n) {
  return std::any_of(x, x + n, [](float v) { return v != 0; });
}

}  // namespace

DenseExchange::DenseExchange(const NodeMap& map, const Options& options, DenseParameters* dense,
                             DenseMirror* mirror)
    : map_(map),
      options_(options),
      dense_(dense),
      mirror_(mirror),
      // Its place among clients is behind those of all workers.
      links_(NewClientNumber(int64_t{map.nodes} * map.workers + map.node), options.token,
             options.patience_seconds),
      changed_(Clock::Real()) {
  uint64_t last = 0;  // that a former process asked
  for (int64_t slice = 0; slice < mirror->slices(); ++slice) {
    last = std::max(last, *mirror->asked(slice));
  }
  for (int n = 0; n < map.nodes; ++n) {
    const int first = n * map.servers;
    link_of_.push_back(n == map.node ? -1
                                     : links_.Add(first, map.endpoints[static_cast<size_t>(first)],
                                                  map.Describe(first), last));
  }
  thread_ = std::thread([this] { Run(); });
}

DenseExchange::~DenseExchange() {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    stop_ = true;
    links_.Stop();
    changed_.NotifyAll();
  }
  thread_.join();
}

void DenseExchange::Flush(uint32_t number) {
  std::unique_lock<std::mutex> lock(mutex_);
  flush_wanted_ = number;
  changed_.NotifyAll();
  changed_.Wait(&lock, [&] { return flushed_ >= number || failed_; });
}

void DenseExchange::Run() {
  try {
    Resume();
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stop_) {
      const uint32_t flush = flush_wanted_;
      const bool flushes = flush > flushed_;
      lock.unlock();
      if (flushes) {
        FlushAll(flush);
      } else if (!Round()) {
        Pause(kIdleSeconds);
      }
      lock.lock();
      if (flushes) flushed_ = flush;
      changed_.NotifyAll();
    }
  } catch (const Error& e) {
    std::unique_lock<std::mutex> lock(mutex_);
    failed_ = true;
    changed_.NotifyAll();
    lock.unlock();
    options_.failed(e);
  }
}

bool DenseExchange::Wanted() const { return flush_wanted_ > flushed_ || stop_; }

// For so long, unless something else is wanted.
void DenseExchange::Pause(double seconds) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto ns = static_cast<int64_t>(seconds * 1e9);
  changed_.WaitUntil(&lock, Clock::Real()->NowNs() + ns, [this] { return Wanted(); });
}

// Asks about a slice: its difference since it was last spoken about, rounded but for the last word.
void DenseExchange::Ask(int64_t slice, bool last_word, uint32_t flush) {
  const DenseRange r = dense_->SliceRange(slice);
  const int64_t n = r.size();
  const WireType wire = last_word ? WireType::kF32 : options_.wire;
  float* known = mirror_->known(slice);
  difference_.resize(static_cast<size_t>(n));
  dense_->Lock(slice);
  const float* v = dense_->values() + r.begin;
  for (int64_t i = 0; i < n; ++i) difference_[i] = v[i] - known[i];
  dense_->Unlock(slice);
  Packet packet(kHeader + n * BytesOf(wire));
  ToWire(wire, difference_.data(), n, packet.data() + kHeader);
  FromWire(wire, packet.data() + kHeader, n, difference_.data());
  for (int64_t i = 0; i < n; ++i) known[i] += difference_[i];
  moved_ = moved_ || AnyButZero(difference_.data(), n);
  FrameHeader header = HeaderFor(last_word ? FrameKind::kDenseFinal : FrameKind::kDense, slice);
  header.epoch = flush;
  header.value_bytes = static_cast<uint8_t>(wire);
  Send(header, std::move(packet));
  *mirror_->asked(slice) = asked_.back().request;
}

FrameHeader DenseExchange::HeaderFor(FrameKind kind, int64_t slice) const {
  FrameHeader header;
  header.kind = kind;
  header.shard = static_cast<uint16_t>(map_.node);
  header.list = static_cast<uint64_t>(slice);
  header.keys = static_cast<uint32_t>(dense_->SliceRange(slice).size());
  header.width = 1;
  return header;
}

void DenseExchange::Send(const FrameHeader& header, Packet packet) {
  const auto slice = static_cast<int64_t>(header.list);
  const int link = link_of_[static_cast<size_t>(mirror_->owner(slice))];
  asked_.push_back({slice, link, links_.link(link)->Ask(header, std::move(packet), nullptr)});
}

void DenseExchange::TakeAnswers() {
  for (const Question& q : asked_) TakeAnswer(q);
  asked_.clear();
}

// Where a former process was ended: its last question of each slice may have been heard or not.
void DenseExchange::Resume() {
  for (int64_t slice = 0; slice < mirror_->slices(); ++slice) {
    if (mirror_->owner(slice) == map_.node || *mirror_->asked(slice) == 0) continue;
    Send(HeaderFor(FrameKind::kDenseAsk, slice), Packet(kHeader));
  }
  TakeAnswers();
}

void DenseExchange::TakeAnswer(const Question& q) {
  Packet packet;
  Frame frame;
  if (!links_.Await(q.link, q.request, &packet, &frame)) return;  // it ends
  const FrameHeader& h = frame.header;
  const DenseRange r = dense_->SliceRange(q.slice);
  const int64_t n = r.size();
  if (h.list != static_cast<uint64_t>(q.slice) || h.keys != n || h.width != 1) {
    throw Fail(ExitCode::kInternal, links_.link(q.link)->name(), " answers about slice ", h.list,
               " of ", h.keys, ", not ", q.slice, " of ", n);
  }
  difference_.resize(static_cast<size_t>(n));
  FromWire(static_cast<WireType>(h.value_bytes), frame.values.data(), n, difference_.data());
  float* known = mirror_->known(q.slice);
  float* v = dense_->values() + r.begin;
  dense_->Lock(q.slice);
  if (h.kind == FrameKind::kDense) {
    for (int64_t i = 0; i < n; ++i) v[i] += difference_[i];
    for (int64_t i = 0; i < n; ++i) known[i] += difference_[i];
    moved_ = moved_ || AnyButZero(difference_.data(), n);
  } else if (h.kind == FrameKind::kDenseKnown) {
    // Did the owner hear the last question? Else what it said is to be said again.
    const bool heard = h.epoch >= static_cast<uint32_t>(*mirror_->asked(q.slice));
    for (int64_t i = 0; heard && i < n; ++i) v[i] += difference_[i] - known[i];
    std::copy_n(difference_.data(), n, known);
  } else {
    std::copy_n(difference_.data(), n, v);
    std::copy_n(difference_.data(), n, known);
  }
  dense_->Unlock(q.slice);
}

// Through all slices of other owners; false when nothing has moved anywhere.
bool DenseExchange::Round() {
  moved_ = false;
  int64_t before = links_.counters.bytes_sent + links_.counters.bytes_received;
  for (int64_t slice = 0; slice < mirror_->slices(); ++slice) {
    if (mirror_->owner(slice) != map_.node) Ask(slice, false, 0);
    if (asked_.empty() || (asked_.size() < kUnderWay && slice + 1 < mirror_->slices())) continue;
    TakeAnswers();
    const int64_t now = links_.counters.bytes_sent + links_.counters.bytes_received;
    bytes_.store(now, std::memory_order_relaxed);
    const auto moved = static_cast<double>(now - std::exchange(before, now));
    Pause(moved / options_.bytes_per_second);
    std::unique_lock<std::mutex> lock(mutex_);
    if (Wanted()) return true;
  }
  mirror_->CountRound();
  return moved_;
}

void DenseExchange::FlushAll(uint32_t number) {
  for (int64_t slice = 0; slice < mirror_->slices(); ++slice) {
    if (mirror_->owner(slice) != map_.node) Ask(slice, true, number);
  }
  TakeAnswers();
  mirror_->CountRound();
}

}  // namespace mariana
