"""Small networks that each do one thing capture must get right."""

from collections import namedtuple
from typing import Any

import torch
from torch import nn

Pair = namedtuple("Pair", "left right")


class Function(nn.Module):
    """A module around a function of its inputs."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args, **kwargs):
        return self.function(*args, **kwargs)


class Recurrent(nn.Module):
    def __init__(self, kind) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 6)
        self.cell = kind(6, 5, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(10, 3)

    def forward(self, ids):
        return self.head(self.cell(self.table(ids))[0][:, -1])


class Recommender(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(20, 4, mode="sum")
        self.mlp = nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 1))

    def forward(self, ids, offsets, dense):
        return torch.sigmoid(self.mlp(torch.cat([self.bag(ids, offsets), dense], 1)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids):
        return self.head(self.table(ids))


class Constants(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.tensor([2.0, 3.0]))

    def forward(self, x):
        return x * self.scale + torch.tensor([0.5, -0.5]), self.scale, x


def live_view(x):
    y = x * 2
    view = y[:, 0]
    y.add_(1.0)
    y[:, 1] = view
    return y.relu_(), view * 3


def dropout_then_write(x):
    y = x * 2
    z = nn.functional.dropout(y, 0.5, training=False)  # the same tensor
    z.view(4)[0] = 7.0
    return y, z


def views_in_place(x):
    y = x * 2
    y.t_().unsqueeze_(0)
    y.mul_(3)
    return y


def power_in_place(x):
    y = x + 2
    y.pow_(2)
    return y


def compare_in_place(x):
    y = x.clone()
    y.gt_(0.0)  # stays float32
    return y * 2


def weight_view(x):
    return x @ torch.ones(2, 3).t().t()


def chain_in_place(x):
    y = x + 1
    y.mul_(2).sub_(3)
    return torch.relu_(y) + y


def no_grad_inside(x):
    with torch.no_grad():
        y = x * 2
    return y + 1


def int_in_place(x):
    y = x.to(torch.int64)
    y.add_(2)
    return y


def half_in_place(x):
    y = x.to(torch.float16)
    y.add_(x)  # stays half precision
    return y


def input_in_place(x):
    return x.add_(1) * 2


def dicts_and_lists(x, *, y=None):
    return {"a": x, "b": [x + 1, (x * 2, None)], "c": y, "d": Pair(x - 1, 3)}


def operators_own_tuples(x):
    return x.max(-1), {"sorted": x.sort(-1)}, x.topk(1)


def cases():
    """Return name, network in evaluation mode, args, kwargs."""
    torch.manual_seed(0)
    x = torch.randn(2, 2)
    ids = torch.randint(0, 7, (2, 3))
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        2,
        enable_nested_tensor=False,
    )
    convs = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5, inplace=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * 9, 3),
    )
    found: list[Any] = [
        ("convs", convs, (torch.randn(1, 1, 6, 6),), {}),
        ("lstm", Recurrent(nn.LSTM), (ids,), {}),
        ("gru", Recurrent(nn.GRU), (ids,), {}),
        ("encoder", encoder, (torch.randn(2, 3, 8),), {}),
        (
            "recommender",
            Recommender(),
            (torch.arange(5), torch.tensor([0, 2]), torch.randn(2, 3)),
            {},
        ),
        ("tied", Tied(), (ids,), {}),
        ("constants", Constants(), (x,), {}),
    ]
    functions = (
        live_view,
        views_in_place,
        compare_in_place,
        weight_view,
        power_in_place,
        chain_in_place,
        no_grad_inside,
        int_in_place,
        half_in_place,
        dicts_and_lists,
        operators_own_tuples,
    )
    found += [(each.__name__, Function(each), (x,), {}) for each in functions]
    found.append(("keywords", Function(dicts_and_lists), (x,), {"y": x + 7}))
    return [(name, module.eval(), args, kwargs) for name, module, args, kwargs in found]
