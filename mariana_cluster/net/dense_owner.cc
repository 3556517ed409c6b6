#include "mariana_cluster/net/dense_owner.h"

#include "mariana_cluster/net/wire_values.h"

namespace mariana {
namespace {

std::string Floats(const float* x, int64_t n) {
  return std::string(reinterpret_cast<const char*>(x), static_cast<size_t>(n) * sizeof(float));
}

}  // namespace

const char* DenseOwner::WhyNot(const FrameHeader& h) const {
  if (h.shard >= mirror_->nodes() || h.shard == mirror_->node()) return "of a node that is none";
  const auto slice = static_cast<int64_t>(h.list);
  if (h.list >= static_cast<uint64_t>(mirror_->slices()) ||
      mirror_->owner(slice) != mirror_->node()) {
    return "of a slice of another owner";
  }
  if (h.width != 1 || h.keys != static_cast<uint64_t>(dense_->SliceRange(slice).size())) {
    return "of another size than the slice";
  }
  if (h.kind == FrameKind::kDenseFinal && h.value_bytes != 4) return "a last word that is not fp32";
  return nullptr;
}

const char* DenseOwner::Handle(const std::string& peer, const Frame& frame,
                               std::vector<Answer>* answers) {
  if (const char* why = WhyNot(frame.header)) return why;
  if (frame.header.kind == FrameKind::kDenseAsk) {
    answers->push_back(Known(peer, frame.header));
    return nullptr;
  }
  floats_.resize(frame.header.keys);
  FromWire(static_cast<WireType>(frame.header.value_bytes), frame.values.data(), frame.header.keys,
           floats_.data());
  if (frame.header.kind == FrameKind::kDense) {
    Exchange(peer, frame, answers);
  } else {
    Finish(peer, frame, answers);
  }
  return nullptr;
}

// To the values and to what the node that sent it is known to have.
void DenseOwner::Add(int64_t slice, const float* difference, float* known) {
  const DenseRange r = dense_->SliceRange(slice);
  float* v = dense_->values() + r.begin;
  dense_->Lock(slice);
  for (int64_t i = 0; i < r.size(); ++i) v[i] += difference[i];
  dense_->Unlock(slice);
  for (int64_t i = 0; i < r.size(); ++i) known[i] += difference[i];
}

// What the node is known to have, and after which of its questions (the last bits of its number).
DenseOwner::Answer DenseOwner::Known(const std::string& peer, const FrameHeader& question) {
  const auto slice = static_cast<int64_t>(question.list);
  Answer answer{peer, question, {}};
  answer.header.kind = FrameKind::kDenseKnown;
  answer.header.value_bytes = 4;
  answer.header.epoch = static_cast<uint32_t>(*mirror_->asked_of(question.shard, slice));
  answer.body = Floats(mirror_->known_of(question.shard, slice), question.keys);
  return answer;
}

void DenseOwner::Exchange(const std::string& peer, const Frame& frame,
                          std::vector<Answer>* answers) {
  const auto slice = static_cast<int64_t>(frame.header.list);
  const int of = frame.header.shard;
  float* known = mirror_->known_of(of, slice);
  uint64_t* asked = mirror_->asked_of(of, slice);
  const DenseRange r = dense_->SliceRange(slice);
  if (frame.header.request <= *asked) return answers->push_back(Known(peer, frame.header));
  Add(slice, floats_.data(), known);
  *asked = frame.header.request;
  const auto wire = static_cast<WireType>(frame.header.value_bytes);
  const float* v = dense_->values() + r.begin;
  dense_->Lock(slice);
  for (int64_t i = 0; i < r.size(); ++i) floats_[i] = v[i] - known[i];
  dense_->Unlock(slice);
  Answer answer{peer, frame.header, {}};
  answer.body.resize(static_cast<size_t>(r.size() * BytesOf(wire)));
  ToWire(wire, floats_.data(), r.size(), answer.body.data());
  FromWire(wire, answer.body.data(), r.size(), floats_.data());
  for (int64_t i = 0; i < r.size(); ++i) known[i] += floats_[i];
  answers->push_back(std::move(answer));
}

void DenseOwner::Finish(const std::string& peer, const Frame& frame, std::vector<Answer>* answers) {
  const auto slice = static_cast<int64_t>(frame.header.list);
  const int of = frame.header.shard;
  const uint64_t flush = frame.header.epoch;
  if (frame.header.request > *mirror_->asked_of(of, slice)) {
    Add(slice, floats_.data(), mirror_->known_of(of, slice));
    *mirror_->asked_of(of, slice) = frame.header.request;
    *mirror_->flushed_of(of, slice) = flush;
  }
  waiting_[{slice, of}] = {peer, frame.header, {}};
  for (int n = 0; n < mirror_->nodes(); ++n) {
    if (n != mirror_->node() && *mirror_->flushed_of(n, slice) < flush) return;
  }
  const DenseRange r = dense_->SliceRange(slice);
  const float* v = dense_->values() + r.begin;
  for (int n = 0; n < mirror_->nodes(); ++n) {
    if (n == mirror_->node()) continue;
    std::copy_n(v, r.size(), mirror_->known_of(n, slice));
    const auto found = waiting_.find({slice, n});
    if (found == waiting_.end()) continue;
    found->second.body = Floats(v, r.size());
    answers->push_back(std::move(found->second));
    waiting_.erase(found);
  }
}

}  // namespace mariana
