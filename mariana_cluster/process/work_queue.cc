#include "mariana_cluster/process/work_queue.h"

#include <glog/logging.h>

#include <utility>

namespace mariana {
namespace {

constexpr char kAsk[] = "next work";   // the first time
constexpr char kDone[] = "work done";  // number: the finished piece; asks for the next
constexpr char kGive[] = "work";       // number, body: the piece
constexpr char kNone[] = "no work";

}  // namespace

std::optional<WorkItem> WorkQueue::Take(int member) {
  if (waiting_.empty()) return std::nullopt;
  WorkItem item = std::move(waiting_.front());
  waiting_.pop_front();
  CHECK(lent_.emplace(item.id, Loan{member, item}).second) << "two pieces of work " << item.id;
  return item;
}

void WorkQueue::Done(int member, int64_t id) {
  const auto loan = lent_.find(id);
  CHECK(loan != lent_.end() && loan->second.member == member) << "work " << id;
  lent_.erase(loan);
}

int WorkQueue::Return(int member) {
  int count = 0;
  for (auto loan = lent_.end(); loan != lent_.begin();) {  // from the last, to keep their order
    --loan;
    if (loan->second.member != member) continue;
    waiting_.push_front(std::move(loan->second.item));
    loan = lent_.erase(loan);
    ++count;
  }
  return count;
}

bool WorkQueue::Serve(Agent* agent, const Agent::Event& event) {
  if (event.kind != Agent::Event::Kind::kMessage) return false;
  if (event.message.kind == kDone) {
    Done(event.member, event.message.number);
  } else if (event.message.kind != kAsk) {
    return false;
  }
  const std::optional<WorkItem> item = Take(event.member);
  agent->Send(event.member, item.has_value() ? Message{kGive, item->id, item->what, {}}
                                             : Message{kNone, 0, "", {}});
  return true;
}

std::optional<WorkItem> NextWork(Member* me, const std::optional<WorkItem>& done) {
  const Message answer =
      me->Ask(done.has_value() ? Message{kDone, done->id, "", {}} : Message{kAsk, 0, "", {}});
  if (answer.kind == kNone) return std::nullopt;
  CHECK_EQ(answer.kind, kGive);
  return WorkItem{answer.number, answer.body};
}

}  // namespace mariana
