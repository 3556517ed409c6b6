#include "mariana_cluster/control/envelope.h"

#include <glog/logging.h>

#include <cstring>
#include <utility>

#include "mariana_cluster/commands.h"

namespace mariana {
namespace {

template <class T>
std::string BytesOf(const std::vector<T>& values) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <class T>
std::vector<T> ValuesOf(const std::string& bytes) {
  CHECK_EQ(bytes.size() % sizeof(T), 0u);
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

struct JobNumbers {
  Place place;
  int first_rank, servers, workers;
  bool outlive;
};

struct MemoryNumbers {
  int64_t elements;
  int slots;
};

struct StateNumbers {
  int64_t epoch;
  RunProgress::Totals totals;
  double cpu_seconds;
  int64_t memory_bytes;
  int waiting, idle;
};

}  // namespace

std::string Packed(const std::vector<std::string>& strings) {
  std::string bytes;
  for (const std::string& s : strings) bytes += ToBody(static_cast<uint64_t>(s.size())) + s;
  return bytes;
}

std::vector<std::string> Unpacked(const std::string& bytes) {
  std::vector<std::string> strings;
  for (size_t at = 0; at < bytes.size();) {
    const auto size = FromBody<uint64_t>(bytes.substr(at, sizeof(uint64_t)));
    at += sizeof(uint64_t);
    CHECK_LE(size, bytes.size() - at);
    strings.push_back(bytes.substr(at, size));
    at += size;
  }
  return strings;
}

std::string Envelope::ToBytes() const {
  CHECK(message.fds.empty()) << message.kind << ": descriptors stay on their node";
  return Packed({ToBody(member), message.kind, ToBody(message.number), message.body, answer});
}

Envelope Envelope::FromBytes(const std::string& bytes) {
  std::vector<std::string> parts = Unpacked(bytes);
  CHECK_EQ(parts.size(), 5u);
  Envelope e;
  e.member = FromBody<int>(parts[0]);
  e.message = {std::move(parts[1]), FromBody<int64_t>(parts[2]), std::move(parts[3]), {}};
  e.answer = std::move(parts[4]);
  return e;
}

std::string NodeJob::ToBytes() const {
  return Packed({start.yaml, start.log_path,
                 ToBody(JobNumbers{start.place, start.first_rank, servers, workers, outlive})});
}

NodeJob NodeJob::FromBytes(const std::string& bytes) {
  std::vector<std::string> parts = Unpacked(bytes);
  const auto n = FromBody<JobNumbers>(parts.at(2));
  return {{std::move(parts[0]), std::move(parts[1]), n.place, n.first_rank},
          n.servers,
          n.workers,
          n.outlive};
}

std::string NodeMemory::ToBytes() const {
  return Packed(
      {ToBody(MemoryNumbers{dense_elements, dense_slots}), dense, measured, Packed(endpoints)});
}

NodeMemory NodeMemory::FromBytes(const std::string& bytes) {
  std::vector<std::string> parts = Unpacked(bytes);
  const auto n = FromBody<MemoryNumbers>(parts.at(0));
  return {n.elements, n.slots, std::move(parts.at(1)), std::move(parts.at(2)),
          Unpacked(parts.at(3))};
}

std::string NodeEpoch::ToBytes() const {
  return Packed({ToBody(number), BytesOf(lanes), BytesOf(here)});
}

NodeEpoch NodeEpoch::FromBytes(const std::string& bytes) {
  const std::vector<std::string> parts = Unpacked(bytes);
  return {FromBody<int64_t>(parts.at(0)), ValuesOf<LanePosition>(parts.at(1)),
          ValuesOf<int>(parts.at(2))};
}

std::string NodeState::ToBytes() const {
  return Packed({ToBody(StateNumbers{epoch, totals, cpu_seconds, memory_bytes, waiting, idle}),
                 BytesOf(lanes)});
}

NodeState NodeState::FromBytes(const std::string& bytes) {
  const std::vector<std::string> parts = Unpacked(bytes);
  const auto n = FromBody<StateNumbers>(parts.at(0));
  return {n.epoch,
          n.totals,
          n.cpu_seconds,
          n.memory_bytes,
          n.waiting,
          n.idle,
          ValuesOf<Lane>(parts.at(1))};
}

}  // namespace mariana
