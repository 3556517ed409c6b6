"""One measurement of PyTorch for scripts/bench/cnn: a JSON job in argv[1], a JSON result on the last
line: {mode: [wall, cpu]} seconds a training step (cross-entropy, SGD with momentum) of an image net,
modes LAYOUT_HOW with LAYOUT nchw or nhwc, HOW eager or compile."""
import json
import sys

from torch_dnn import measure


def resnet20(torch):
    """He et al. 2016 for 32 x 32, with projection shortcuts (option B), as configs/zoo has it."""
    nn = torch.nn

    def conv(i, o, kernel, stride):
        return nn.Conv2d(i, o, kernel, stride, kernel // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, i, o, stride):
            super().__init__()
            self.body = nn.Sequential(conv(i, o, 3, stride), nn.BatchNorm2d(o), nn.ReLU(True),
                                      conv(o, o, 3, 1), nn.BatchNorm2d(o))
            self.shortcut = (nn.Identity() if i == o else
                             nn.Sequential(conv(i, o, 1, stride), nn.BatchNorm2d(o)))

        def forward(self, x):
            return torch.relu_(self.body(x) + self.shortcut(x))

    blocks = [Block(i, o, s) for i, o, s in
              [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] +
              [(64, 64, 1)] * 2]
    return nn.Sequential(conv(3, 16, 3, 1), nn.BatchNorm2d(16), nn.ReLU(True), *blocks,
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def main():
    job = json.loads(sys.argv[1])
    import torch
    torch.set_num_threads(job["threads"])
    result = {}
    for mode in job["modes"]:
        torch.manual_seed(0)
        if job["net"] == "resnet20":
            net = resnet20(torch)
        else:
            import torchvision
            net = getattr(torchvision.models, job["net"])(num_classes=job["classes"])
        layout = torch.channels_last if "nhwc" in mode else torch.contiguous_format
        net = net.train().to(memory_format=layout)
        side = job["side"]
        x = torch.randn(job["batch"], 3, side, side).contiguous(memory_format=layout)
        y = torch.randint(0, job["classes"], (job["batch"],))
        optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, fused=True)
        bf16 = job["precision"] == "bf16"

        def loss_of(x, y, net=net):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return torch.nn.functional.cross_entropy(net(x), y)

        run = torch.compile(loss_of) if "compile" in mode else loss_of

        def step(run=run, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=True)
            run(x, y).backward()
            optimizer.step()

        try:
            result[mode] = measure(step, job["seconds"])
        except Exception as e:  # torch.compile may find no compiler
            print("%s: %s" % (mode, str(e).splitlines()[0]), file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
