"""`trimtab certs`: an authority of one's own, and certificates for edges and clouds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.output import console, print_json

__all__ = ["certs"]


def certs(
    folder: Annotated[Path, typer.Argument(help="Where they go.", metavar="FOLDER")],
    name: Annotated[
        list[str], typer.Option(help="Of a node, such as cloud or edge-1; repeat.")
    ],
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address that others reach it by; repeat."),
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="That they hold.")] = 365,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make certificates for tests and small fleets."""
    from trimtab.runtime.certs import make

    written = make(folder, name, days=days, hosts=tuple(host or ()))
    if as_json:
        print_json({"written": [str(each) for each in written]})
        return
    out = console()
    for each in written:
        out.print(str(each), soft_wrap=True)
    out.print("keep ca.key apart: who has it can make certificates")
