// SnapshotWriter: a server's part of the snapshots of a job: its shards of all tables, written by a
// thread of its own while training goes on.
//
//   writer.Cut();            // while nobody writes rows: they are held as they are now
//   writer.Write(command);   // returns at once; says "saved" when it is done, or has failed
//
// Messages (bodies are JSON):
//   agent -> server   "cut"                -> "cut": body: "", or why not
//                     "write" WriteCommand -> at once or later: "saved" SavedPart
//                     "let_go"             -> "saved": what is held is not wanted any more
// A server that takes the place of one that was killed lets go of what that held, and says so when
// it is told to write.
//
// Threading: one thread calls it; `send` is called from another one, too.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "mariana_cluster/process/channel.h"
#include "mariana_cluster/table/table_file.h"

namespace mariana {

struct WriteCommand {
  std::string folder;
  int part = 1, parts = 1;
  bool changes = false;  // since the last snapshot, alone
  bool others = false;   // this part has the tensors that are no tables, too: OthersPath
  std::string ToBody() const;
  static WriteCommand FromBody(const std::string& body);
};

struct SavedPart {
  std::string error;  // "": none
  int error_code = 0;
  std::vector<WrittenFile> files;  // the model's, the optimizer's
  double seconds = 0;              // that it took
  int64_t copied_bytes = 0;        // by others, before they wrote
  double waited_seconds = 0;       // by others, for the end of snapshots, since the job began
  std::string ToBody() const;
  static SavedPart FromBody(const std::string& body);
};

// model.safetensors or, of several parts, model-00001-of-00002.safetensors.
std::string PartFileName(const std::string& what, int part, int parts);
// Where the agent puts what `others` is about, for as long as the snapshot is written.
std::string OthersPath(const std::string& folder, const std::string& what);

class SnapshotWriter {
 public:
  // `shards`: of each table.
  SnapshotWriter(std::vector<std::shared_ptr<TableShard>> shards,
                 std::function<void(const Message&)> send);
  ~SnapshotWriter();  // waits for what is being written

  // Serves a message; false when it is none of those above.
  bool Serve(const Message& message);
  // Waits until nothing is written and held.
  void Wait();
  // Nobody writes rows any more: writes them as they are. Throws Error.
  SavedPart WriteNow(const WriteCommand& command);

 private:
  std::string Cut();
  void LetGo(bool saved);
  void Write(const WriteCommand& command);
  void SayNothingSaved(const std::string& why);
  SavedPart WritePart(const WriteCommand& command) const;

  std::vector<std::shared_ptr<TableShard>> shards_;
  std::function<void(const Message&)> send_;
  std::optional<ClockedThread> thread_;
};

}  // namespace mariana
