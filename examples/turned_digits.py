"""Digits, each turned by quarters at random: what holds, learned from 300 of them.

    python examples/turned_digits.py             # about two minutes

Upright digits rightly reject the same symmetry: give --upright.
"""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from torch import Tensor, nn

from trimtab import symmetry
from trimtab.training.data import Dataset, load


def turned(x: Tensor, seed: int) -> Tensor:
    """Return images (n, channels, size, size), each turned by 0 to 3 quarters."""
    drawn = torch.Generator().manual_seed(seed)
    quarters = torch.randint(0, 4, (len(x),), generator=drawn).tolist()
    return torch.stack(
        [torch.rot90(one, k, (1, 2)) for one, k in zip(x, quarters, strict=True)]
    )


def main(
    examples: Annotated[int, typer.Option(help="Digits to learn from.")] = 300,
    steps: Annotated[int, typer.Option(help="Of each training.")] = 1200,
    upright: Annotated[bool, typer.Option("--upright", help="Turn none.")] = False,
) -> None:
    """Fit some subgroups of D4, say what holds, collapse the network."""
    digits = load("digits", seed=0)
    (x, y), (test_x, test_y) = digits.train, digits.test
    some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:examples]
    x, y = x[some], y[some]
    if not upright:
        x, test_x = turned(x, 1), turned(test_x, 2)
    data = Dataset(name="digits", train=(x, y), test=(test_x, test_y), classes=10)

    # A plain network whose channels are multiples of the group's eight elements.
    plain = nn.Sequential(
        nn.AvgPool2d(2),
        nn.Conv2d(1, 128, 5, padding=2, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 128, 3, padding=1, groups=128, bias=False),
        nn.Conv2d(128, 128, 1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(128, 10),
    )
    family = symmetry.subgroups("D4", include=["C2", "hflip", "C4", "D4"])
    network = symmetry.symmetrize(plain, family, x[:1])
    posterior = symmetry.fit(
        network,
        data,
        search=symmetry.Search(recipe=symmetry.Recipe(steps=steps)),
        progress=lambda done, what: print(f"\r{done:4.0%} {what:20}", end=""),
    )
    print()
    for row in posterior.table():
        print(
            f"{row['scheme']:6} {row['log_evidence_nats']:8.1f} nats, posterior "
            f"{row['posterior']:.3f}"
        )
    print(posterior.verdict())
    right = posterior.predict(test_x).argmax(1) == test_y
    print(f"{100 * right.float().mean():.1f} % of {len(test_y)} other digits are right")
    collapsed = posterior.collapse(test_x[:50])
    kinds = {type(each).__name__ for each in collapsed.modules()}
    print(f"as plain layers: {', '.join(sorted(kinds - {'Sequential', 'Identity'}))}")


if __name__ == "__main__":
    typer.run(main)
