#include "tests/common/nn/check_layer.h"

namespace mariana {

TEST_CASE("Linear: gradients with and without bias, under each activation") {
  CheckLayer("{type: linear, units: 5}");
  CheckLayer("{type: linear, units: 17, bias: false}");
  CheckLayer("{type: linear, units: 5, activation: sigmoid, init: he_normal}");
  CheckLayer("{type: linear, units: 5, activation: tanh, init: he_uniform}");
  CheckLayer("{type: linear, units: 5, activation: relu, init: normal, std: 0.3}");
}

TEST_CASE("Linear: a net without outputs of the data needs units") {
  CheckRefused("[{type: linear}]", {"linear1", "units"});
  CheckRefused("[{type: linear, units: -1}]", {"units"});
  CheckRefused("[{type: linear, units: 3, activation: rleu}]", {"activation", "relu"});
}

TEST_CASE("Activations on their own") {
  CheckLayer("{type: sigmoid}\n- {type: tanh}\n- {type: linear, units: 3}");
  CheckLayer("{type: tanh}");
  CheckLayer("{type: dropout, rate: 0}\n- {type: relu}");
}

TEST_CASE("Dropout: gradients go where values went") {
  CheckLayer("{type: dropout, rate: 0.4}\n- {type: linear, units: 3}");
  CheckRefused("[{type: dropout, rate: 1}]", {"rate"});
}

TEST_CASE("Batch norm: gradients through the statistics of each group") {
  CheckLayer("{type: batch_norm}\n- {type: linear, units: 3}");
  CheckLayer("{type: batch_norm, epsilon: 0.1}");
  CheckRefused("[{type: batch_norm, momentum: 2}]", {"momentum"});
}

TEST_CASE("Residual: identity, and a projection where widths differ") {
  CheckLayer("{type: residual, layers: [{type: linear, units: 6, activation: tanh}]}");
  CheckLayer("{type: residual, layers: [{type: tanh}, {type: linear, units: 4}]}");
  CheckLayer("{type: residual, repeat: 2, layers: [{type: residual, layers: [{type: tanh}]}]}");
  CheckRefused("[{type: residual, layers: [{type: linear}]}]", {"residual1.linear1", "units"});
  CheckRefused("[{type: residual, layers: []}]", {"layers"});
}

TEST_CASE("Branch: gradients of several readers are added") {
  const std::string arms =
      "branches: [{layers: [{type: linear, units: 6, activation: tanh}]}, "
      "{layers: []}, {layers: [{type: sigmoid}, {type: linear, units: 6}]}]";
  CheckLayer("{type: branch, join: concat, " + arms + "}\n- {type: linear, units: 3}");
  CheckLayer("{type: branch, join: add, " + arms + "}\n- {type: linear, units: 3}");
  CheckLayer("{type: branch, join: add, branches: [{layers: []}, {layers: []}]}");
  CheckRefused(
      "[{type: branch, join: add, branches: [{layers: []}, {layers: [{type: linear, "
      "units: 5}]}]}]",
      {"branch1", "[6]", "[5]", "concat"});
  CheckRefused("[{type: branch, branches: [{layers: []}]}]", {"branches", "2"});
}

TEST_CASE("Names: unique, plain, numbered") {
  CheckRefused("[{type: relu, name: a}, {type: relu, name: a}]", {"layer a", "two layers"});
  CheckRefused("[{type: relu, name: a.b}]", {"a.b", "letters"});
  CheckRefused("[{type: rellu}]", {"rellu", "relu"});
}

}  // namespace mariana
