#include "common/comm/queued_transfers.h"

namespace mariana {
namespace {

class QueuedTransfers : public Transfers {
 public:
  QueuedTransfers(Transfers* transfers, Device* device) : transfers_(transfers), device_(device) {}

  void Offer(int message, const TransferRows& rows) override {
    device_->Mark()();
    transfers_->Offer(message, rows);
  }
  void AwaitTaken(int message) override { transfers_->AwaitTaken(message); }
  TransferRows Receive(int message) override { return transfers_->Receive(message); }
  void Take(int message) override {
    device_->Mark()();
    transfers_->Take(message);
  }

 private:
  Transfers* const transfers_;
  Device* const device_;
};

}  // namespace

std::unique_ptr<Transfers> MakeQueuedTransfers(Transfers* transfers, Device* device) {
  return std::make_unique<QueuedTransfers>(transfers, device);
}

}  // namespace mariana
