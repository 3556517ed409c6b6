"""gloo's all-reduce through torch.distributed, in place, between processes of one thread each.

usage: torch_allreduce.py FLOATS STEPS [RANKS]

Prints the milliseconds of each step on rank 0, after a first that counts for nothing."""
import os
import socket
import sys
import time

import torch
import torch.distributed
import torch.multiprocessing


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rank_main(rank, ranks, port, floats, steps):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=ranks)
    x = torch.ones(floats)
    for step in range(-1, steps):
        torch.distributed.barrier()
        start = time.perf_counter()
        torch.distributed.all_reduce(x)
        if rank == 0 and step >= 0:
            print("%.3f" % ((time.perf_counter() - start) * 1e3), flush=True)
        x.fill_(1)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    RANKS = int(sys.argv[3]) if len(sys.argv) > 3 else 2
    torch.multiprocessing.spawn(
        rank_main, (RANKS, free_port(), int(sys.argv[1]), int(sys.argv[2])), RANKS)
