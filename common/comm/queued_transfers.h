// QueuedTransfers: a worker's end of the transfers over a device whose work is queued. Rows that
// the trainer offers are as good as computed, but not in memory, and rows that it takes are as good
// as read; so both first wait for the device to come to that point.
//
// Threading: as Transfers.
#pragma once

#include <memory>

#include "common/device/device.h"
#include "common/tensor/transfers.h"

namespace mariana {

// `transfers` and `device` outlive the result.
std::unique_ptr<Transfers> MakeQueuedTransfers(Transfers* transfers, Device* device);

}  // namespace mariana
