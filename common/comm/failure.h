// Failure: the first thing that went wrong in a group of workers. Thread-safe.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>

#include "common/base/error.h"

namespace mariana {

class Failure {
 public:
  // The first call wins; false for the others.
  bool Set(Error error) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (error_) return false;
    error_ = std::move(error);
    set_.store(true, std::memory_order_release);
    return true;
  }
  bool set() const { return set_.load(std::memory_order_acquire); }
  void ThrowIfSet() const {
    if (set()) throw *error_;  // never changes once set
  }

 private:
  std::mutex mutex_;
  std::optional<Error> error_;
  std::atomic<bool> set_{false};
};

}  // namespace mariana
