// StatusServer: answers who asks how a job is: `status.sock`, a Unix socket in its run directory,
// which the job's own user (and root) alone may use. A request and its answer are a line of JSON
// each:
//
//   {"ask": "status"}                 -> JobTrace::Status()
//   {"ask": "trace", "seconds": 5}    -> {}       spans are kept for so long
//   {"ask": "spans"}                  -> JobTrace::TakeSpans()
//   {"ask": "stop"}                   -> {}       save and stop, as on SIGUSR1
//
// and {"error": what} for anything else. A socket that a killed job left is replaced (the run
// directory's lock says that no other is alive); where the file system can hold none, the log says
// so and the job runs without.
//
// Threading: a thread of its own; it does nothing while nobody asks.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "mariana_cluster/trace/job_trace.h"
#include "mariana_cluster/trace/status_socket.h"

namespace mariana {

class StatusServer {
 public:
  // `trace` outlives it; `stop` is called in its thread.
  StatusServer(const std::string& run_dir, JobTrace* trace, std::function<void()> stop);
  ~StatusServer();
  StatusServer(const StatusServer&) = delete;
  StatusServer& operator=(const StatusServer&) = delete;

 private:
  struct Client {
    int fd;
    std::string unread;
  };
  void Loop();
  void Accept();
  bool Read(Client* client);  // false: it is done with
  nlohmann::json Answer(const std::string& line);

  const StatusSocket socket_;
  JobTrace* trace_;
  std::function<void()> stop_;
  int listener_ = -1, wake_ = -1;
  std::vector<Client> clients_;
  std::thread thread_;
};

}  // namespace mariana
