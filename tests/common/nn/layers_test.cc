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

namespace {
const Shape kImage{5, 4, 3};

// A DLRM (Naumov et al. 2019) of two embeddings of 2 and two numbers behind them.
const char kDlrm[] =
    "{type: branch, name: fields, branches: [{name: bottom, layers: [{type: slice, begin: 4, size: "
    "2}, {type: linear, units: 3, activation: tanh}, {type: linear, units: 2}]}, {layers: [{type: "
    "slice, size: 4}]}]}\n"
    "- {type: branch, name: interaction, branches: [{layers: [{type: slice, size: 2}]}, {layers: "
    "[{type: dots, size: 2}]}]}\n"
    "- {type: linear, name: top, units: 3, activation: sigmoid}\n- {type: linear, units: 1}";
}  // namespace

TEST_CASE("Cross: products with whole and with low-rank matrices") {
  CheckLayer("{type: cross, layers: 1}");
  CheckLayer(
      "{type: cross, layers: 2, init: normal, std: 0.1}\n"
      "- {type: linear, units: 3, activation: sigmoid}");
  CheckLayer("{type: cross, layers: 2, rank: 2}");
  CheckLayer("{type: branch, branches: [{layers: [{type: cross, layers: 2}]}, {layers: []}]}");
  CheckRefused("[{type: cross}]", {"cross1", "image", "[5, 4, 3]"}, kImage);
  CheckRefused("[{type: cross, layers: 0}]", {"layers", "1"});
  CheckRefused("[{type: cross, rank: -1}]", {"rank", "0"});
}

TEST_CASE("Dots: products of all pairs of vectors") {
  for (const int size : {1, 2, 3}) CheckLayer(StrCat("{type: dots, size: ", size, "}"));
  CheckRefused("[{type: dots, size: 4}]", {"dots1", "size", "[6]", "vectors of 4"});
  CheckRefused("[{type: dots, size: 6}]", {"dots1", "two or more"});
  CheckRefused("[{type: dots, size: 3}]", {"dots1", "[5, 4, 3]"}, kImage);
  CheckRefused("[{type: dots}]", {"size"});
}

TEST_CASE("Slice: some columns, and towers of a DLRM over them") {
  CheckLayer("{type: slice, begin: 1, size: 3}");
  CheckLayer("{type: slice, size: 6}\n- {type: linear, units: 2}");
  CheckLayer(kDlrm);
  CheckRefused("[{type: slice, begin: 4, size: 3}]", {"slice1", "columns 4 to 6", "of 6"});
  CheckRefused("[{type: slice, size: 3}]", {"slice1", "image"}, kImage);
  CheckRefused("[{type: slice, begin: -1, size: 3}]", {"begin"});
  CheckRefused("[{type: slice}]", {"size"});
}

TEST_CASE("Convolution: windows, padding, groups and activations") {
  CheckLayer("{type: conv, channels: 4}", kImage);
  CheckLayer("{type: conv, channels: 2, kernel: [1, 3], stride: [2, 1], padding: [0, 1]}", kImage);
  CheckLayer("{type: conv, channels: 2, kernel: 2, padding: [2, 1, 0, 1], bias: false}", kImage);
  CheckLayer("{type: conv, channels: 6, padding: same, groups: 3, activation: tanh}", kImage);
  CheckLayer("{type: conv, channels: 2, padding: same, stride: 2, dilation: [2, 1]}", kImage);
  CheckLayer(
      "{type: conv, channels: 3, padding: 1, activation: sigmoid}\n- {type: linear, units: 2}",
      kImage);
  CheckRefused("[{type: conv, channels: 4}]", {"conv1", "image", "[6]"});
  CheckRefused("[{type: conv, channels: 4, groups: 3}]", {"groups", "3", "2"}, {5, 4, 2});
  CheckRefused("[{type: conv, channels: 4, kernel: 7, padding: 1}]", {"7", "width", "4"}, kImage);
  CheckRefused("[{type: conv, channels: 4, kernel: [1, 2, 3]}]", {"kernel", "[height, width]"});
  CheckRefused("[{type: conv, channels: 4, padding: valid}]", {"padding", "same"});
  CheckRefused("[{type: conv, channels: 4, stride: []}]", {"stride", "[height, width]"});
}

TEST_CASE("Pooling: windows, padding, ceil mode") {
  CheckLayer("{type: max_pool}", kImage);
  CheckLayer("{type: max_pool, kernel: 3, stride: 2, padding: 1, ceil_mode: true}", kImage);
  CheckLayer("{type: avg_pool, kernel: [3, 2], stride: 1, padding: 1}", kImage);
  CheckLayer("{type: avg_pool, kernel: 3, stride: 2, padding: same, count_include_pad: false}",
             kImage);
  CheckLayer("{type: global_pool}\n- {type: linear, units: 2}", kImage);
  CheckRefused("[{type: max_pool, kernel: 2, padding: 2}]", {"padding", "kernel"}, kImage);
  CheckRefused("[{type: global_pool}]", {"global_pool1", "image"});
}

TEST_CASE("Images through normalisation and element-wise layers") {
  CheckLayer("{type: lrn, size: 3, alpha: 0.5, k: 2}", kImage);
  CheckLayer("{type: leaky_relu, slope: 0.2}", kImage);
  CheckLayer("{type: gelu}", kImage);
  CheckLayer("{type: batch_norm}\n- {type: tanh}", kImage);
  CheckLayer("{type: dropout, rate: 0.3}\n- {type: flatten}\n- {type: linear, units: 2}", kImage);
  CheckRefused("[{type: leaky_relu, slope: 0}]", {"slope"});
}

TEST_CASE("Batch norm with relu and a residual is one operation") {
  CheckLayer("{type: batch_norm}\n- {type: relu}\n- {type: linear, units: 2}", {3, 2, 2});
  CheckLayer(
      "{type: residual, activation: relu, layers: [{type: conv, channels: 3, padding: same, bias: "
      "false}, {type: batch_norm}]}",
      kImage);
  CheckLayer("{type: residual, layers: [{type: tanh}, {type: batch_norm}]}", kImage);
  CheckLayer(
      "{type: residual, activation: relu, shortcut: [{type: conv, kernel: 1, channels: 2, stride: "
      "2, bias: false}, {type: batch_norm}], layers: [{type: conv, channels: 2, stride: 2, "
      "padding: "
      "1, bias: false}, {type: batch_norm}]}",
      kImage);
  CheckRefused("[{type: residual, layers: [{type: conv, channels: 2, padding: 1}]}]",
               {"residual1", "[5, 4, 3]", "[5, 4, 2]", "shortcut"}, kImage);
}

TEST_CASE("Branches of images are joined along the channels") {
  const std::string arms =
      "branches: [{name: a, layers: [{type: conv, kernel: 1, channels: 2}]}, {layers: [{type: "
      "max_pool, kernel: 3, stride: 1, padding: 1}]}, {layers: []}]";
  CheckLayer("{type: branch, " + arms + "}\n- {type: gelu}", kImage);
  CheckRefused("[{type: branch, branches: [{layers: []}, {layers: [{type: max_pool}]}]}]",
               {"branch1", "[5, 4, 3]", "[2, 2, 3]"}, kImage);
}

TEST_CASE("Names: unique, plain, numbered") {
  CheckRefused("[{type: relu, name: a}, {type: relu, name: a}]", {"layer a", "two layers"});
  CheckRefused("[{type: relu, name: a.b}]", {"a.b", "letters", "sequence"});
  CheckRefused("[{type: branch, branches: [{}, {name: a.b}]}]", {"branch1", "a.b", "letters"});
  CheckRefused("[{type: rellu}]", {"rellu", "relu"});
}

}  // namespace mariana
