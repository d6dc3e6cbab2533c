"""`trimtab design check`: two networks trained alike."""

from __future__ import annotations

from typing import Annotated

import typer

from trimtab.cli.output import console, plain, print_json, progress_bar, table

__all__ = ["check_networks"]


def check_networks(
    first: Annotated[
        str, typer.Argument(help="A network, or a folder of a design.", metavar="A")
    ],
    second: Annotated[str, typer.Argument(help="Another.", metavar="B")],
    data: Annotated[
        str,
        typer.Option(
            help="digits, an .npz, an image folder, or package.module:factory."
        ),
    ],
    seconds: Annotated[
        float, typer.Option(min=1, help="All trainings together take about so long.")
    ] = 300.0,
    seeds: Annotated[int, typer.Option(min=2, help="Pairs of trainings.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Of each training.")] = 5,
    batch_size: Annotated[int, typer.Option(min=1, help="Examples of a step.")] = 64,
    learning_rate: Annotated[
        float, typer.Option(help="At the top of its cosine schedule.")
    ] = 0.05,
    weight_decay: Annotated[float, typer.Option(help="Of the optimizer.")] = 5e-4,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of PyTorch; its own choice if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train two networks alike, and show how their accuracies differ."""
    with progress_bar(quiet=as_json) as progress:
        progress("check", 0.0, "starting")
        from trimtab.design.check import check, extent, maker
        from trimtab.training.data import load
        from trimtab.training.settings import Settings

        settings = Settings(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            warmup_frac=0.1,
            threads=threads,
        )
        makers = maker(first), maker(second)
        dataset = load(data)
        progress("check", 0.0, "timing a few steps of both")
        amount = extent(makers, dataset, settings, seconds=seconds, seeds=seeds)
        found = check(
            *makers,
            dataset,
            settings,
            extent=amount,
            seeds=range(seeds),
            progress=lambda done, text: progress("check", done, text),
        )
    difference = found.difference
    if as_json:
        from dataclasses import asdict

        print_json({"networks": [first, second], "data": dataset.name, **asdict(found)})
        return
    from trimtab.units import format_duration, format_percent

    out = console()
    out.print(
        table(
            f"{plain(dataset.name)}: {amount.train} examples, {epochs} epochs, "
            f"tested on {amount.test}",
            [("seed", ""), ("A", ""), ("B", ""), ("B - A, points", "")],
            [
                (
                    seed, format_percent(one), format_percent(two),
                    f"{100 * (two - one):+.2f}",
                )
                for seed, one, two in zip(
                    found.seeds, found.first, found.second, strict=True
                )
            ],
        )
    )  # fmt: skip
    mean = difference.mean
    out.print(
        f"B - A: {100 * mean.value:+.2f} points, {mean.confidence:.0%} interval "
        f"{100 * mean.low:+.2f} to {100 * mean.high:+.2f}, p = "
        f"{difference.permutation_p:.3f} (signs flipped)"
    )
    one, two = found.wall_s
    out.print(f"training took {format_duration(one)} (A), {format_duration(two)} (B)")
