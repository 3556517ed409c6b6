#include "mariana_dnn/train_state.h"

#include "common/base/error.h"

namespace mariana {

using nlohmann::json;

json TrainState::ToJson() const {
  return {{"epoch", epoch},
          {"step", step},
          {"step_in_epoch", step_in_epoch},
          {"samples", samples},
          {"seconds", seconds},
          {"horizon_epochs", horizon_epochs},
          {"newbob",
           {{"factor", newbob.factor},
            {"best_loss", newbob.best_loss},
            {"started", newbob.started},
            {"halving", newbob.halving}}},
          {"epochs_without_gain", epochs_without_gain},
          {"evaluated_step", evaluated_step},
          {"best_step", best_step},
          {"best", best},
          {"last", last},
          {"finished", finished}};
}

TrainState TrainState::FromJson(const json& j, const std::string& where) {
  TrainState s;
  try {
    s.epoch = j.at("epoch");
    s.step = j.at("step");
    s.step_in_epoch = j.at("step_in_epoch");
    s.samples = j.at("samples");
    s.seconds = j.at("seconds");
    s.horizon_epochs = j.at("horizon_epochs");
    s.newbob.factor = j.at("newbob").at("factor");
    s.newbob.best_loss = j.at("newbob").at("best_loss");
    s.newbob.started = j.at("newbob").at("started");
    s.newbob.halving = j.at("newbob").at("halving");
    s.epochs_without_gain = j.at("epochs_without_gain");
    s.evaluated_step = j.at("evaluated_step");
    s.best_step = j.at("best_step");
    s.best = j.at("best").get<std::map<std::string, double>>();
    s.last = j.at("last").get<std::map<std::string, double>>();
    s.finished = j.at("finished");
  } catch (const json::exception& e) {
    throw Fail(ExitCode::kBadData, where, ": state.json: ", e.what());
  }
  return s;
}

}  // namespace mariana
