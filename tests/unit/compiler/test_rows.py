"""Networks that may be padded and done in parts, and those that may not."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trimtab.compiler.rows import batch_of, require_any_batch, resized
from trimtab.errors import UsageError
from trimtab.graph.capture import capture, weights_of
from trimtab.graph.module import GraphModule

X = torch.zeros(2, 8)
INTEGERS = torch.zeros(2, 8, dtype=torch.int64)


class Call(nn.Module):
    """A function as a network, the modules it uses beside it."""

    def __init__(self, function: Any, *modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.inner = nn.ModuleList(modules)

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args, *self.inner)


def check(model: nn.Module, *args: Any, sizes: tuple[int, ...] = (2, 4)) -> None:
    """Do what `trimtab.compile` does with ``batch_sizes``."""
    batch = batch_of(args)
    graphs = {size: capture(model.eval(), resized(args, batch, size)) for size in sizes}
    require_any_batch(model, args, {}, graphs)


def with_mask(x: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, x, x.sum(1, keepdim=True))


APART = {
    "dense": (nn.Sequential(nn.Linear(8, 8), nn.ReLU()), (X,)),
    "softmax of a row": (nn.Softmax(1), (X,)),
    "norm": (nn.LayerNorm(8), (X,)),
    "convolution": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1)),
        (torch.zeros(2, 3, 6, 6),),
    ),
    "batch first": (nn.LSTM(8, 8, batch_first=True), (torch.zeros(2, 5, 8),)),
    "table": (nn.Embedding(9, 4), (INTEGERS,)),
    "table of one row": (nn.Embedding(1, 4), (INTEGERS,)),
    "integers": (Call(lambda x: x - x.max(1, keepdim=True).values), (INTEGERS,)),
    "mask": (Call(with_mask), (X, torch.zeros(2, 8, dtype=torch.bool))),
    "logarithm": (Call(lambda x: x.log()), (X,)),
    "double": (nn.Linear(8, 8).double(), (X.double(),)),
    "half": (nn.Linear(8, 8).to(torch.bfloat16), (X.to(torch.bfloat16),)),
    "fixed input": (Call(lambda x, y: x @ y), (X, torch.zeros(8, 3))),
    "only an even batch": (
        Call(lambda x: x.reshape(x.shape[0] // 2, 2, 8).reshape(-1, 8) * 2),
        (X,),
    ),
}


@pytest.mark.parametrize("name", APART)
@pytest.mark.parametrize("sizes", [(2, 4), (4,), (1,)])
def test_networks_that_take_any_batch(name: str, sizes: tuple[int, ...]) -> None:
    model: nn.Module
    if name == "batch first":  # its states have another first axis
        model = Call(lambda x, lstm: lstm(x)[0], APART[name][0])
    else:
        model = APART[name][0]
    if name == "only an even batch" and sizes == (1,):
        pytest.skip("it cannot be captured")
    check(model, *APART[name][1], sizes=sizes)


def rounded(x: Tensor) -> Tensor:
    """One row is computed in another order, as kernels of PyTorch may."""
    one = x.shape[0] == 1
    return ((0.1 * x).sum(1) * 1e8 if one else 0.1 * x.sum(1) * 1e8).long()


def test_a_near_tie_is_no_difference() -> None:
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(rounded(x)[:1], rounded(x[:1]))
    check(Call(rounded), torch.zeros(1, 64), sizes=(1,))
    with pytest.raises(UsageError, match="rows of output 0 change with other rows"):
        check(Call(lambda x: rounded(x) - rounded(x).amax(0)), torch.zeros(2, 64))


def unbalanced(x: Tensor, lstm: nn.Module) -> Any:
    return lstm(x[:, None])[0][:, 0]


TOGETHER = {
    "mean": (Call(lambda x: x - x.mean(0, keepdim=True)), (X,)),
    "maximum": (Call(lambda x: x - x.amax(0)), (X,)),
    "time first": (Call(unbalanced, nn.LSTM(8, 8)), (X,)),
    "gated, time first": (Call(unbalanced, nn.GRU(8, 8)), (X,)),
    "running sum": (Call(lambda x: x.cumsum(0)), (X,)),
    "norm of all": (Call(lambda x: x / x.norm()), (X,)),
    "softmax": (nn.Softmax(0), (X,)),
    "place": (Call(lambda x: x + torch.arange(x.shape[0])[:, None]), (X,)),
    "count": (Call(lambda x: x * x.shape[0]), (X,)),
    "order": (Call(lambda x: x.flip(0)), (X,)),
    "integers": (Call(lambda x: x - x.max(0).values), (INTEGERS,)),
    "integers, one column": (Call(lambda x: x - x.amax(0)), (INTEGERS[:, :1],)),
    "table": (
        Call(lambda x, table: table(x) - table(x).mean(0), nn.Embedding(9, 4)),
        (INTEGERS,),
    ),
    "sorted": (Call(lambda x: x.argsort(0)), (X,)),
    "roots": (Call(lambda x: x.sqrt() - x.sqrt().mean(0)), (X,)),
}


@pytest.mark.parametrize("name", TOGETHER)
@pytest.mark.parametrize("sizes", [(2, 4), (1,)])
def test_networks_whose_rows_depend_on_each_other(
    name: str, sizes: tuple[int, ...]
) -> None:
    with pytest.raises(UsageError, match="rows of output 0 change with other rows"):
        check(TOGETHER[name][0], *TOGETHER[name][1], sizes=sizes)


def test_a_number_that_is_the_batch_is_refused() -> None:
    with pytest.raises(UsageError, match="output 1 changes with other rows"):
        check(Call(lambda x: (x * 2, x.shape[0])), X)


def test_the_message_says_what_to_do() -> None:
    with pytest.raises(UsageError) as error:
        check(TOGETHER["running sum"][0], X)
    assert str(error.value) == (
        "batch sizes [2, 4]: rows of output 0 change with other rows of the batch, and "
        "batches are filled up with zeros and done in parts (network 'Call'). Compile "
        "it for one batch size, without batch_sizes."
    )


def test_outputs_without_rows_are_refused_before_anything_is_compiled() -> None:
    with pytest.raises(UsageError, match="its first dimension is not the batch"):
        check(Call(lambda x: x.sum()), X)


def test_what_could_not_be_seen_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check(nn.Embedding(9, 4), INTEGERS)
        assert not caplog.records
        check(nn.Embedding(1, 4), INTEGERS)
    assert "it takes no other integers than zeros" in caplog.text


def test_a_graph_is_looked_at_for_its_own_batch() -> None:
    def graph_of(model: nn.Module, batch: int) -> GraphModule:
        graph = capture(model.eval(), (torch.zeros(batch, 8),))
        return GraphModule(graph, weights_of(model, graph)).eval()

    check(graph_of(nn.Linear(8, 4), 4), torch.zeros(4, 8), sizes=(4,))
    with pytest.raises(UsageError, match="rows of output 0 change with other rows"):
        check(graph_of(nn.Softmax(0), 4), torch.zeros(4, 8), sizes=(4,))
    with pytest.raises(UsageError, match=r"cannot be seen, .*on 3 rows it fails: "):
        check(graph_of(nn.Linear(8, 4), 1), torch.zeros(1, 8), sizes=(1,))


def test_few_rows_are_enough() -> None:
    seen: list[int] = []

    def forward(x: Tensor) -> Tensor:
        seen.append(x.shape[0])
        return x * 2

    model = Call(forward).eval()
    graphs = {size: capture(model, (torch.zeros(size, 8),)) for size in (1, 256)}
    seen.clear()
    require_any_batch(model, (X,), {}, graphs)
    # Whether three rows are taken; then the whole and its parts, 1 and 2 or 2 and 1,
    # the second filled up by one row.
    assert seen == [3, *(3, 1, 3, 2, 2), *(3, 1, 3), *(3, 2, 2)]


def test_inputs_by_name_and_within_others() -> None:
    keywords = {"more": [torch.zeros(2, 3), 7]}

    class Named(nn.Module):
        def forward(self, x: Tensor, *, more: Any) -> Tensor:
            return x.sum(1) + more[0].sum() * more[1]

    model = Named().eval()
    graphs = {
        size: capture(model, resized((X,), 2, size), resized(keywords, 2, size))
        for size in (2, 4)
    }
    with pytest.raises(UsageError, match="rows of output 0 change"):
        require_any_batch(model, (X,), keywords, graphs)


def test_it_leaves_the_inputs_and_the_random_state_alone() -> None:
    x = torch.randn(2, 8)
    kept, state = x.clone(), torch.get_rng_state()
    check(nn.Linear(8, 8), x)
    assert torch.equal(x, kept)
    torch.manual_seed(0)
    model = nn.Linear(8, 8)
    state = torch.get_rng_state()
    check(model, x)
    assert torch.equal(torch.get_rng_state(), state)


def test_example_inputs_of_another_batch() -> None:
    x = torch.arange(6.0).reshape(3, 2)
    assert resized(x, 3, 5).tolist() == [*x.tolist(), [0, 1], [2, 3]]
    assert resized(x, 3, 2).tolist() == x[:2].tolist()
    assert resized(x, 4, 2) is x
    assert resized({"a": (x, None)}, 3, 1)["a"][0].shape == (1, 2)
    assert (batch_of(()), batch_of((1, torch.tensor(2.0)))) == (1, 1)
