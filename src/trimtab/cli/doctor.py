"""`trimtab doctor`: what this machine has of what trimtab can use."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from trimtab.cli.output import console, plain, print_json, table

__all__ = ["doctor"]

_SIGNS = {"ok": "yes", "missing": "no", "wrong": "WRONG"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Name what is missing here, what it would be for, and how to get it.

    Ends with 1 where trimtab cannot work at all.
    """
    from trimtab.pipeline.doctor import examine

    found = examine()
    broken = [each for each in found if each.required and each.state != "ok"]
    if as_json:
        print_json({"works": not broken, "findings": [asdict(each) for each in found]})
    else:
        out = console()
        out.print(
            table(
                "This machine",
                [("", ""), ("there", ""), ("what", ""), ("for", "")],
                [
                    (each.name, _SIGNS[each.state], each.detail, each.purpose)
                    for each in found
                ],
            )
        )
        for each in found:
            if each.remedy:
                text = plain(f"{each.name}: {each.remedy}")
                out.print(text, soft_wrap=True, markup=False)  # extras are in brackets
        if broken:
            names = ", ".join(each.name for each in broken)
            out.print(f"trimtab cannot work here without: {names}")
        else:
            out.print("trimtab works here; what is not there is needed for its purpose")
    if broken:
        raise typer.Exit(1)
