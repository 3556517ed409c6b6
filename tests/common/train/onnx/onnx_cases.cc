// onnx_cases NET.yaml HEIGHT WIDTH CHANNELS OUTPUTS nchw|nhwc float|uint8 OUT [MODEL.safetensors]:
// builds an image net, draws its values or imports those of another tool's model, and writes
// OUT.onnx and, as OUT.safetensors, some images ("pixels", uint8 [N, height, width, channels]) and
// what the net makes of them ("logits"). For scripts/reference/onnx and resnet18.
#include <cmath>
#include <cstdio>
#include <string>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/config/config.h"
#include "common/train/import_model.h"
#include "common/train/net_values.h"
#include "common/train/onnx/image_model.h"

namespace mariana {
namespace {

constexpr int64_t kImages = 3;

// Weights as they are drawn; everything else, which starts as zero or one, at random.
void Draw(Net* net) {
  net->Initialize(1);
  std::vector<HostTensor> values = SaveNetValues(net);
  RandomSequence random(2, 0);
  for (HostTensor& t : values) {
    if (t.shape.rank() > 1) continue;
    const bool bias = t.name.find("bias") != std::string::npos;
    for (int64_t i = 0; i < t.shape.elements(); ++i) {
      t.f32()[i] = bias ? 0.2f * random.Normal() : 0.5f + random.Uniform();
    }
  }
  LoadNetValues(net, values, "drawn");
}

void Import(const std::string& file, Net* net) {
  ImportSpec spec;
  spec.file = file;
  net->Initialize(1);
  const ImportedModel model =
      ImportValues(LoadModel(file), spec, SaveNetValues(net), HeadOf(net->plan()));
  LoadNetValues(net, model.tensors, file);
  std::printf("%s\n", model.line.c_str());
}

int Run(int argc, char** argv) {
  const std::string out = argv[8];
  NetSpec spec;
  LoadConfig({argv[1], {}}, [&](Fields* f) { spec.Describe(f); });
  const auto device = MakeCpuDevice(0, 1, -1);
  NetOptions options;
  options.device = device.get();
  options.max_rows = kImages;
  options.input = Shape{std::stol(argv[2]), std::stol(argv[3]), std::stol(argv[4])};
  options.outputs = std::stol(argv[5]);
  options.train = false;
  const std::unique_ptr<Net> net = Net::Build(spec, options);
  if (argc > 9) {
    Import(argv[9], net.get());
  } else {
    Draw(net.get());
  }

  const int64_t channels = options.input[2], n = options.input.elements();
  ImageModelInfo info;
  info.program = "onnx_cases";
  for (int64_t c = 0; c < channels; ++c) {
    info.mean.push_back(0.4 + 0.05 * static_cast<double>(c));
    info.std.push_back(0.2 + 0.02 * static_cast<double>(c));
  }
  OnnxImageSpec file;
  file.layout = std::string(argv[6]) == "nhwc" ? PixelLayout::kNhwc : PixelLayout::kNchw;
  file.pixels = std::string(argv[7]) == "uint8" ? Dtype::kU8 : Dtype::kF32;
  ExportImageModel(net.get(), file, info, out + ".onnx");

  RandomSequence random(3, 0);
  HostTensor pixels{"pixels",
                    Dtype::kU8,
                    {kImages, options.input[0], options.input[1], channels},
                    std::vector<char>(static_cast<size_t>(kImages * n))};
  std::vector<float> x(pixels.bytes.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const auto value = static_cast<unsigned char>(255.9f * random.Uniform());
    pixels.bytes[i] = static_cast<char>(value);
    const size_t c = i % static_cast<size_t>(channels);
    x[i] = static_cast<float>((value / 255.0 - info.mean[c]) / info.std[c]);
  }
  Tensor input(device.get(), Dtype::kF32, {kImages, options.input[0], options.input[1], channels});
  input.Upload(x.data());
  StepContext step;
  step.train = false;
  step.rows = step.batch_rows = kImages;
  net->Forward(step, input);
  std::vector<float> logits(static_cast<size_t>(net->outputs().elements()));
  net->outputs().Download(logits.data());

  const std::vector<HostTensor> tensors = {
      HostTensor::F32("logits", net->outputs().shape(), logits.data()), std::move(pixels)};
  FileWriter writer(out + ".safetensors");
  WriteSafetensors(&writer, tensors, {});
  writer.Finish();
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) {
  if (argc != 9 && argc != 10) {
    std::fprintf(stderr, "see the head of this file\n");
    return 64;
  }
  try {
    return mariana::Run(argc, argv);
  } catch (const mariana::Error& e) {
    std::fprintf(stderr, "onnx_cases: %s\n", e.what());
    return static_cast<int>(e.code());
  }
}
