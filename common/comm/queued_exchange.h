// QueuedExchange: a worker's end of the exchange over a device whose work is queued. The trainer
// runs ahead of the device: when it says Collect(b), the gradients of b are as good as computed,
// but not in memory. A thread of this waits for the device to come to that point, and then tells
// the exchange; the trainer goes on queueing. The other calls first wait for that thread to have
// told all.
//
// Threading: as Exchange: the trainer's thread. The exchange behind it is called by one thread at
// a time.
#pragma once

#include <memory>

#include "common/comm/exchange.h"

namespace mariana {

// `exchange` and `device` outlive the result. An error of the thread's is thrown by the next call.
std::unique_ptr<Exchange> MakeQueuedExchange(Exchange* exchange, Device* device, Clock* clock);

}  // namespace mariana
