// A member of a job as process_test wants it: the first argument says what it does.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "mariana_cluster/process/member.h"
#include "mariana_cluster/table/table.h"

namespace mariana {
namespace {

// Says that it is there, then waits for something that never comes.
int Wait(Member* me) {
  me->Send({"ready", getpid(), "", {}});
  me->board()->Wait([&] { return me->stopping(); }, "a stop request");
  return 0;
}

// Updates a row of the table (sent by the agent) for every number that it is asked for.
int Work(Member* me) {
  const Message table_message = me->Receive();
  Table table({std::make_shared<TableShard>(TableShard::Attach(table_message.fds.at(0)))});
  for (Message m = me->Receive(); m.kind == "work"; m = me->Ask({"done", m.number, "", {}})) {
    const uint64_t key = static_cast<uint64_t>(m.number) << 50;
    const float gradient = -1;
    char* row;
    table.Locate(&key, 1, Missing::kInsert, &row);
    table.Apply(&row, 1, &gradient);
  }
  return 0;
}

int Run(const std::string& what, Member* me) {
  if (what == "wait") return Wait(me);
  if (what == "work") return Work(me);
  if (what == "fail") throw Fail(ExitCode::kBadData, "part-7.tsv:12: no label");
  if (what == "exit") return 3;
  if (what == "crash") {
    signal(SIGABRT, SIG_DFL);
    std::abort();
  }
  return static_cast<int>(ExitCode::kUsage);
}

}  // namespace
}  // namespace mariana

int main(int, char** argv) {
  return mariana::RunMember([&](mariana::Member* me) { return mariana::Run(argv[1], me); });
}
