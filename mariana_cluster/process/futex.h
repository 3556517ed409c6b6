// Waiting on a word of shared memory (futex(2)): the one way in which processes of a job wait for
// each other, where Clock and CondVar (threads of one process) cannot reach. Used by Board alone;
// everything else waits through it, so that no wait outlives a dead peer. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

namespace mariana {

// Sleeps while *word is `expected`, until FutexWakeAll or the time is over; may return early.
void FutexWait(const std::atomic<uint32_t>* word, uint32_t expected, int64_t timeout_ns);
void FutexWakeAll(std::atomic<uint32_t>* word);  // async-signal-safe

}  // namespace mariana
