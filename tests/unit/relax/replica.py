"""One replica in a process of its own: python replica.py RANK REPLICAS FILE WHAT."""

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn import functional as F

from trimtab.relax.exchange import Processes
from trimtab.relax.parle import Parle


def net(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    )


def settings(rank):
    return {
        "steps": 5, "scope": 0.3, "coupling": 0.2, "temperature": 1e-4,
        "generator": torch.Generator().manual_seed(rank),
        "outer": lambda groups: torch.optim.SGD(groups, lr=0.7, momentum=0.5),
    }  # fmt: skip


def batches(rank, count=20):
    drawn = torch.Generator().manual_seed(100 + rank)  # other data in each replica
    for _ in range(count):
        x = torch.randn(16, 6, generator=drawn)
        yield x, x[:, :3].argmax(1)


def step(model, opt, x, y):
    opt.zero_grad()
    F.cross_entropy(model(x), y).backward()
    opt.step()


def main():
    rank, replicas = map(int, sys.argv[1:3])
    folder, what = Path(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank,
        world_size=replicas, timeout=timedelta(seconds=60),
    )  # fmt: skip
    model = net(seed=rank)
    payload = torch.bfloat16 if what == "bf16" else None
    exchange = Processes(payload=payload)
    kept = what in ("lost", "nan", "uneven", "fails")
    keep = folder / "consensus.safetensors" if kept else None
    opt = Parle(model.parameters(), exchange=exchange, keep=keep, **settings(rank))
    for number, (x, y) in enumerate(batches(rank)):
        if what == "lost" and rank == 1 and number == 12:
            return  # without a word
        if what == "nan" and rank == 1 and number == 12:
            x = x * float("nan")
        if what == "uneven" and number == (19 if rank == 0 else 17):
            break
        if what == "fails" and rank == 1 and number == 12:
            opt.settle(finish=False)  # as the training loop does, without the other
            raise RuntimeError("out of batches")
        step(model, opt, x, y)
    if what == "uneven":
        opt.settle()
    with opt.at_consensus():
        mean = {key: each.clone() for key, each in model.state_dict().items()}
    own = {f"own.{key}": each for key, each in model.state_dict().items()}
    save_file(
        {**mean, **own}, folder / f"{rank}.safetensors",
        metadata={"bytes": str(exchange.communicated_bytes)},
    )  # fmt: skip
    dist.barrier()  # none takes the group down while another is still in it
    dist.destroy_process_group()
    # Seen once: a thread of gloo outlived the group, and C++ aborted as the interpreter
    # was taken down. All that is judged is on disk; what raises above ends with 1.
    os._exit(0)


if __name__ == "__main__":
    main()
