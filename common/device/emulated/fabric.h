// Fabric: the links of an emulated machine in virtual time. Copies that pass one link at the same
// time share it fairly (max-min: nobody can be faster without slowing somebody who is slower), so
// a copy takes as long as the machine would need for it beside all others.
//
// Threading: thread-safe. Callbacks run one after the other on the fabric's own thread; they may
// call it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/device/emulated/timeline.h"
#include "common/machine/routes.h"

namespace mariana {

class Fabric {
 public:
  // All outlive it.
  Fabric(const Machine& machine, Clock* clock, Timeline* timeline);
  ~Fabric();  // nothing is under way any more, or nobody minds

  const Routes& routes() const { return routes_; }
  Clock* clock() const { return clock_; }
  Timeline* timeline() const { return timeline_; }
  // The timeline's row of an edge.
  int track(int edge) const { return tracks_[static_cast<size_t>(edge)]; }
  int64_t EdgeBytes(int edge) const;

  // Calls `f` at a point of time, or at once if that has passed.
  void At(int64_t ns, std::function<void()> f);
  // Data begins to move at `start_ns` (what latency there is, the caller has counted); `done` when
  // the last byte is there. `what` names the copy in the picture.
  void Copy(const Route& route, int64_t bytes, int64_t start_ns, const std::string& what,
            std::function<void()> done);
  // The same from now on, latency included, returning when it is done.
  void CopyAndWait(const Route& route, int64_t bytes, const std::string& what);

 private:
  struct Flow {
    const Route* route;
    std::string what;
    int64_t number;  // in the order in which they began
    int64_t begin_ns;
    double left;  // bytes, as of moved_to_ns
    int64_t moved_to_ns;
    std::function<void()> done;
    double rate = 0;  // bytes a nanosecond
    int64_t end_ns = 0;
  };
  struct Begin {
    const Route* route;
    int64_t bytes;
    std::string what;
    std::function<void()> done;
  };
  void Run();
  void Start(Begin begin);
  std::vector<Flow*> Around(const Route& route) const;
  void Share(const std::vector<Flow*>& flows);
  std::function<void()> TakeFinished();

  Clock* const clock_;
  Timeline* const timeline_;
  const Routes routes_;
  std::vector<int> tracks_;  // by edge

  mutable std::mutex mutex_;
  CondVar changed_;
  std::multimap<int64_t, std::function<void()>> timers_;  // of one time: first come, first called
  std::map<int64_t, Flow> flows_;                         // by number
  std::set<std::pair<int64_t, int64_t>> ends_;            // of flows: (end_ns, number)
  std::vector<std::vector<Flow*>> on_edge_;
  int64_t next_number_ = 0;
  std::vector<int64_t> edge_bytes_;
  bool stopping_ = false;
  ClockedThread thread_;  // last: it uses all of the above
};

}  // namespace mariana
