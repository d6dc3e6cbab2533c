"""Networks that are served in tests, and an engine in place of processes."""

import os

import numpy as np
import torch
from torch import nn

from trimtab.serve.live.arena import Arena, Field
from trimtab.serve.live.board import DONE, FAILED, Board
from trimtab.serve.live.dispatcher import Dispatcher
from trimtab.serve.schedule import Schedule

INPUTS = (Field(name="x", dtype="float32", shape=(3,)),)
OUTPUTS = (Field(name="y", dtype="float32", shape=()),)


class Bench:
    """A dispatcher whose workers do what a test says, when it says so."""

    def __init__(
        self, workers=2, batch=10, capacity=1000, seconds=lambda rows: 0.001,
        accelerator=None, **more,
    ):  # fmt: skip
        self.arena = Arena(INPUTS, OUTPUTS, capacity)
        self.board = Board(workers)
        self.bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(workers)]
        self.dispatcher = Dispatcher(
            self.arena, self.board.boxes, self.bells,
            Schedule(batch=batch, coalesce=True, **more), seconds, accelerator,
        )  # fmt: skip
        self.answers = {}
        self.orders: list[list[tuple[int, ...]]] = [[] for _ in range(workers)]
        for number in range(workers):
            self.ready(number)

    def ready(self, number):
        self.board.boxes[number].answers.put((0, DONE, 0, 0, 0))
        self.dispatcher.collect()

    def ask(self, rows, name=None, **more):
        name = len(self.answers) if name is None else name
        x = np.random.default_rng(rows).standard_normal((rows, 3)).astype("float32")
        self.answers[name] = (x, None)

        def done(answer):
            assert self.answers[name][1] is None, "answered twice"
            self.answers[name] = (x, answer)

        self.dispatcher.submit({"x": x}, rows, done, **more)
        return name

    def see(self, number):
        """Take the orders of a worker; return them all."""
        self.orders[number] += list(self.board.boxes[number].orders.take())
        return self.orders[number]

    def work(self, number, *, fail=""):
        """Have a worker do its first batch; return its rows, or None."""
        if not self.see(number):
            return None
        total, more = 0, 1
        while more:
            batch, start, rows, more = self.orders[number].pop(0)
            x = self.arena.rows("x")[start : start + rows]
            self.arena.rows("y")[start : start + rows] = x.sum(1)
            total += rows
        box = self.board.boxes[number]
        box.text = fail
        box.answers.put((batch, FAILED if fail else DONE, 1, 2, 3))
        self.dispatcher.collect()
        return total

    def finish(self):
        sizes = []
        while any(self.see(number) for number in range(len(self.orders))):
            for number in range(len(self.orders)):
                rows = self.work(number)
                sizes += [rows] if rows else []
        return sizes

    def right(self, name):
        x, answer = self.answers[name]
        return answer is not None and np.array_equal(answer.outputs["y"], x.sum(1))


class Tables(nn.Module):
    """Ids and numbers in, two outputs out; fails where told to."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(50, 4)
        self.dense = nn.Linear(8, 1)

    def bounds(self):
        return {"ids": (50,)}

    def forward(self, numbers, ids):
        if bool((numbers == 999).any()):
            raise ValueError("told to fail")
        if bool((numbers == 777).any()):  # and keeps no row but the first
            numbers, ids = numbers[:1], ids[:1]
        x = torch.cat([numbers, self.table(ids).sum(1)], 1)
        return {"score": torch.sigmoid(self.dense(x)).squeeze(1), "x": x}


def tables():
    """Return a network of two inputs."""
    return Tables()


class Talkative(Tables):
    """Prints whenever it is called."""

    def forward(self, numbers, ids):
        print('{"not": "a record"}', "." * 2000)  # noqa: T201
        return super().forward(numbers, ids)


def talkative():
    """Return one that prints."""
    return Talkative()


def example_inputs():
    """Return one item."""
    return torch.zeros(1, 4), torch.zeros(1, 3, dtype=torch.int64)
