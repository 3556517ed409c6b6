// Member: a process of a job, as it sees itself: its place on the board, its channel to the agent.
//
//   int WorkerVerb(...) { return RunMember([&](Member* me) { ... return 0; }); }
//
// Threading: as Channel: Send in one thread at a time, Receive in one at a time.
#pragma once

#include <functional>

#include "mariana_cluster/process/board.h"
#include "mariana_cluster/process/channel.h"

namespace mariana {

// How the agent hands over: two descriptors and the member's number.
constexpr int kMemberChannelFd = 3, kMemberBoardFd = 4;
constexpr char kMemberVariable[] = "MARIANA_MEMBER";
constexpr char kErrorMessage[] = "error";  // number: exit code, body: what

class Member {
 public:
  // Error(kUsage) when this process was not started by an agent.
  static Member Attach();

  int number() const { return number_; }
  Board* board() { return &board_; }
  Channel* channel() { return &channel_; }
  // Sends and receives; Error(kLostWorkers) when the agent is gone.
  void Send(const Message& message);
  Message Receive();
  Message Ask(const Message& question);  // Send, then the answer
  // Somebody asked the job to stop.
  bool stopping() const { return board_.stop_signal() != 0; }

 private:
  Member(int number, Channel channel, Board board);
  int number_;
  Channel channel_;
  Board board_;
};

// Attaches, beats on the board in a thread of its own, lets the stop signals of this process stop
// the whole job, runs `body` and returns its exit code. An Error (or another exception: 70) goes to
// the agent, which tells the user, and its code is returned.
int RunMember(const std::function<int(Member* me)>& body);

}  // namespace mariana
