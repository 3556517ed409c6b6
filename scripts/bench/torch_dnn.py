"""One measurement of PyTorch for scripts/bench/dnn: a JSON job in argv[1], a JSON result on the
last line. Training steps of a sigmoid net: cross-entropy, SGD with momentum."""
import json
import os
import statistics
import sys
import time


def make_net(torch, inputs, hidden, layers, outputs):
    nn = torch.nn
    parts = []
    for k in range(layers):
        parts += [nn.Linear(inputs if k == 0 else hidden, hidden), nn.Sigmoid()]
    return nn.Sequential(*parts, nn.Linear(hidden, outputs))


def measure(step, seconds):
    for _ in range(3):
        step()
    wall, cpu = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(wall) < 4:
        a, c = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - a)
        cpu.append(time.process_time() - c)
    return [statistics.median(wall), statistics.median(cpu)]


def one(job):
    import torch
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    inputs, _, _, outputs = job["net"]
    result = {}
    for mode in job["modes"]:
        net = make_net(torch, *job["net"])
        optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9,
                                    fused=True if "fused" in mode else None)
        x = torch.randn(job["batch"], inputs)
        y = torch.randint(0, outputs, (job["batch"],))
        bf16 = job["precision"] == "bf16"

        def loss_of(x, y, net=net):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return torch.nn.functional.cross_entropy(net(x), y)

        run = torch.compile(loss_of) if mode == "compile" else loss_of

        def step(run=run, optimizer=optimizer):
            optimizer.zero_grad(set_to_none=True)
            run(x, y).backward()
            optimizer.step()

        try:
            result[mode] = measure(step, job["seconds"])
        except Exception as e:  # torch.compile may find no compiler
            print("%s: %s" % (mode, str(e).splitlines()[0]), file=sys.stderr)
    return result


def ddp_worker(rank, job, queue):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511", OMP_NUM_THREADS="1",
                      GLOO_SOCKET_IFNAME="lo")
    import torch
    import torch.distributed as dist
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", rank=rank, world_size=job["ddp"])
    inputs, _, _, outputs = job["net"]
    net = torch.nn.parallel.DistributedDataParallel(make_net(torch, *job["net"]),
                                                    gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, fused=True)
    x = torch.randn(job["batch"], inputs)
    y = torch.randint(0, outputs, (job["batch"],))
    times = []
    for _ in range(job["steps"]):
        begin = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
        times.append(time.perf_counter() - begin)
    queue.put(statistics.median(times[5:]))
    dist.barrier()
    dist.destroy_process_group()


def ddp(job):
    import torch.multiprocessing as mp
    context = mp.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=ddp_worker, args=(r, job, queue)) for r in range(job["ddp"])]
    for w in workers:
        w.start()
    slowest = max(queue.get() for _ in workers)
    for w in workers:
        w.join()
    return {"frames_per_second": job["ddp"] * job["batch"] / slowest}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps(ddp(job) if "ddp" in job else one(job)))
