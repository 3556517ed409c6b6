"""One measurement of PyTorch for scripts/bench/gpu: a JSON job in argv[1], a JSON result on the last
line: {mode: seconds a training step} (cross-entropy, SGD with momentum) over samples that lie on the
GPU. Modes: eager, compile, overhead (torch.compile in its mode for CUDA graphs), graph (the whole
step of eager as one CUDA graph). precision fp32 is TF32; bf16 is autocast over fp32 parameters."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from torch_dnn import make_net  # noqa: E402


def net_of(torch, job):
    if "layers" in job:
        return make_net(torch, *job["layers"]), torch.randn(job["batch"], job["layers"][0])
    import torchvision
    net = getattr(torchvision.models, job["net"])(num_classes=job["classes"])
    images = torch.randn(job["batch"], 3, job["side"], job["side"])
    return (net.to(memory_format=torch.channels_last),
            images.contiguous(memory_format=torch.channels_last))


def seconds_of(torch, step, seconds):
    """Median of rounds of ten steps."""
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    rounds, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(rounds) < 3:
        begin = time.perf_counter()
        for _ in range(10):
            step()
        torch.cuda.synchronize()
        rounds.append((time.perf_counter() - begin) / 10)
    return sorted(rounds)[len(rounds) // 2]


def captured(torch, step):
    """The step as one CUDA graph, after the warm-up that PyTorch's manual asks for."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure(torch, job, mode):
    torch.manual_seed(0)
    net, x = net_of(torch, job)
    net, x = net.cuda().train(), x.cuda()
    y = torch.randint(0, job["classes"], (job["batch"],), device="cuda")
    optimizer = torch.optim.SGD(net.parameters(), 0.001, momentum=0.9, fused=True)
    bf16 = job["precision"] == "bf16"

    def loss_of(x, y):
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            return torch.nn.functional.cross_entropy(net(x), y)

    if mode == "compile":
        run = torch.compile(loss_of)
    elif mode == "overhead":
        run = torch.compile(loss_of, mode="reduce-overhead")
    else:
        run = loss_of

    def step():
        optimizer.zero_grad(set_to_none=mode != "graph")
        run(x, y).backward()
        optimizer.step()

    return seconds_of(torch, captured(torch, step) if mode == "graph" else step, job["seconds"])


def main():
    job = json.loads(sys.argv[1])
    import torch
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    result = {}
    for mode in job["modes"]:
        try:
            result[mode] = measure(torch, job, mode)
        except Exception as e:  # a mode that this installation cannot do
            lines = str(e).splitlines()
            print("%s: %s" % (mode, lines[0] if lines else type(e).__name__), file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
