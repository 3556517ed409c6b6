#include "mariana_cluster/snapshot/snapshot_writer.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

using nlohmann::json;

}  // namespace

std::string WriteCommand::ToBody() const {
  return json{{"folder", folder},
              {"part", part},
              {"parts", parts},
              {"changes", changes},
              {"others", others}}
      .dump();
}

WriteCommand WriteCommand::FromBody(const std::string& body) {
  const json j = json::parse(body);
  WriteCommand c;
  c.folder = j.at("folder");
  c.part = j.at("part");
  c.parts = j.at("parts");
  c.changes = j.at("changes");
  c.others = j.at("others");
  return c;
}

std::string SavedPart::ToBody() const {
  json list = json::array();
  for (const WrittenFile& f : files) {
    list.push_back(
        {{"name", f.name}, {"bytes", f.bytes}, {"crc32c", f.crc32c}, {"tensors", f.tensors}});
  }
  return json{
      {"error", error},     {"error_code", error_code},     {"files", list},
      {"seconds", seconds}, {"copied_bytes", copied_bytes}, {"waited_seconds", waited_seconds}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

SavedPart SavedPart::FromBody(const std::string& body) {
  const json j = json::parse(body);
  SavedPart s;
  s.error = j.at("error");
  s.error_code = j.at("error_code");
  for (const json& f : j.at("files")) {
    s.files.push_back({f.at("name"), f.at("bytes"), f.at("crc32c"), f.at("tensors")});
  }
  s.seconds = j.at("seconds");
  s.copied_bytes = j.at("copied_bytes");
  s.waited_seconds = j.at("waited_seconds");
  return s;
}

std::string PartFileName(const std::string& what, int part, int parts) {
  if (parts == 1) return what + ".safetensors";
  char number[48];
  std::snprintf(number, sizeof(number), "-%05d-of-%05d.safetensors", part, parts);
  return what + number;
}

std::string OthersPath(const std::string& folder, const std::string& what) {
  return folder + "/.others-" + what + ".safetensors";
}

SnapshotWriter::SnapshotWriter(std::vector<std::shared_ptr<TableShard>> shards,
                               std::function<void(const Message&)> send)
    : shards_(std::move(shards)), send_(std::move(send)) {
  LetGo(false);
}

SnapshotWriter::~SnapshotWriter() { Wait(); }

void SnapshotWriter::Wait() { thread_.reset(); }

SavedPart SnapshotWriter::WriteNow(const WriteCommand& command) {
  Wait();
  LetGo(false);
  return WritePart(command);
}

bool SnapshotWriter::Serve(const Message& message) {
  if (message.kind == "cut") {
    send_({"cut", 0, Cut(), {}});
  } else if (message.kind == "write") {
    if (std::all_of(shards_.begin(), shards_.end(), [](const auto& s) { return s->cut_held(); })) {
      Write(WriteCommand::FromBody(message.body));
    } else {
      SayNothingSaved("the server that held its rows was killed");
    }
  } else if (message.kind == "let_go") {
    Wait();
    LetGo(false);
    SayNothingSaved("let go");
  } else {
    return false;
  }
  return true;
}

std::string SnapshotWriter::Cut() {
  Wait();
  LetGo(false);
  try {
    for (const auto& s : shards_) s->BeginCut();
    return "";
  } catch (const Error& e) {
    LetGo(false);
    return e.message();
  }
}

void SnapshotWriter::SayNothingSaved(const std::string& why) {
  SavedPart none;
  none.error = why;
  none.error_code = static_cast<int>(ExitCode::kLostWorkers);
  send_({"saved", 0, none.ToBody(), {}});
}

void SnapshotWriter::LetGo(bool saved) {
  for (const auto& s : shards_) {
    if (s->cut_held()) s->EndCut(saved);
  }
}

void SnapshotWriter::Write(const WriteCommand& command) {
  thread_.emplace(Clock::Real(), "snapshot", [this, command] {
    const double begin = Clock::Real()->NowSeconds();
    SavedPart saved;
    try {
      saved = WritePart(command);
    } catch (const Error& e) {
      saved.error = e.message();
      saved.error_code = static_cast<int>(e.code());
    }
    for (const auto& s : shards_) {
      saved.copied_bytes += s->copies().copied_bytes();
      saved.waited_seconds += s->copies().waited_seconds();
    }
    LetGo(saved.error.empty());
    saved.seconds = Clock::Real()->NowSeconds() - begin;
    send_({"saved", 0, saved.ToBody(), {}});
  });
}

SavedPart SnapshotWriter::WritePart(const WriteCommand& command) const {
  TablesToWrite what;
  for (const auto& s : shards_) what.tables.push_back({s.get()});
  what.rows = command.changes ? TableShard::Rows::kChanged : TableShard::Rows::kAll;
  what.part = command.part;
  what.parts = command.parts;
  if (command.others) {
    const SafetensorsFile model(OthersPath(command.folder, "model"));
    what.model = model.ReadAll();
    what.model_metadata = model.metadata();
    what.optimizer = SafetensorsFile(OthersPath(command.folder, "optimizer")).ReadAll();
  }
  const auto path = [&](const char* name) {
    return command.folder + "/" + PartFileName(name, command.part, command.parts);
  };
  SavedPart saved;
  saved.files = WriteTables(what, path("model"), path("optimizer"));
  return saved;
}

}  // namespace mariana
