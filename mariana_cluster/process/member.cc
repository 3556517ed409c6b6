#include "mariana_cluster/process/member.h"

#include <signal.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "common/base/clock.h"
#include "common/base/error.h"

namespace mariana {
namespace {

// A signal handler can reach nothing but statics.
std::atomic<Board*> stop_board{nullptr};

void OnSignal(int signal) {
  const int saved_errno = errno;
  if (Board* board = stop_board.load(); board != nullptr) board->RequestStop(signal);
  errno = saved_errno;
}

// An interrupt from a terminal reaches agent and members alike: the board takes the first.
void StopBoardOnSignals(Board* board) {
  stop_board = board;
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

// Tells the agent that this process runs, whatever its other threads wait for.
class Heart {
 public:
  explicit Heart(Member* me)
      : changed_(Clock::Real()), thread_(Clock::Real(), "heart", [this, me] { Beat(me); }) {}
  ~Heart() {
    std::unique_lock<std::mutex> lock(mutex_);
    over_ = true;
    changed_.NotifyAll();
  }

 private:
  static constexpr int64_t kBeatNs = 200'000'000;

  void Beat(Member* me) {
    std::unique_lock<std::mutex> lock(mutex_);
    do {
      me->board()->Beat(me->number());
    } while (
        !changed_.WaitUntil(&lock, Clock::Real()->NowNs() + kBeatNs, [this] { return over_; }));
  }

  std::mutex mutex_;
  CondVar changed_;
  bool over_ = false;
  ClockedThread thread_;
};

Error AgentGone() { return {ExitCode::kLostWorkers, "the agent is gone"}; }

}  // namespace

Member Member::Attach() {
  const char* number = std::getenv(kMemberVariable);
  if (number == nullptr) {
    throw Fail(ExitCode::kUsage, "this verb is for processes that an agent starts");
  }
  return {std::atoi(number), Channel(kMemberChannelFd), Board::Attach(kMemberBoardFd)};
}

Member::Member(int number, Channel channel, Board board)
    : number_(number), channel_(std::move(channel)), board_(std::move(board)) {}

void Member::Send(const Message& message) {
  if (!channel_.Send(message)) throw AgentGone();
}

Message Member::Receive() {
  std::optional<Message> message = channel_.Receive();
  if (!message.has_value()) throw AgentGone();
  return std::move(*message);
}

Message Member::Ask(const Message& question) {
  Send(question);
  return Receive();
}

int RunMember(const std::function<int(Member* me)>& body) {
  Member me = Member::Attach();
  StopBoardOnSignals(me.board());
  const Heart heart(&me);
  const auto report = [&](ExitCode code, const std::string& what) {
    me.channel()->Send({kErrorMessage,
                        static_cast<int>(code),
                        what.substr(0, static_cast<size_t>(kMaxMessageBytes) / 2),
                        {}});
    return static_cast<int>(code);
  };
  int code;
  try {
    code = body(&me);
  } catch (const Error& e) {
    code = report(e.code(), e.message());
  } catch (const std::bad_alloc&) {
    code = report(ExitCode::kInternal, "out of memory");
  } catch (const std::exception& e) {
    code = report(ExitCode::kInternal, e.what());
  }
  stop_board = nullptr;
  return code;
}

}  // namespace mariana
