"""`trimtab cloud`: the cloud's side of a divided network."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.output import console, print_json
from trimtab.errors import UsageError

__all__ = ["address", "cloud"]


def address(text: str, *, host: str = "127.0.0.1") -> tuple[str, int]:
    """Return host and port of ``host:port`` or ``:port``.

    Args:
        text: of the command line.
        host: where none is given.

    Raises:
        UsageError: it is neither.

    Example:
        >>> address(":7400"), address("[::1]:80")
        (('127.0.0.1', 7400), ('::1', 80))
    """
    name, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not int(port) < 2**16:
        raise UsageError(
            f"address {text!r}",
            rule="it has a host and a port up to 65535",
            where="command line",
            remedy="give HOST:7400, or :7400 for this machine alone",
        )
    return name.strip("[]") or host, int(port)


def cloud(
    bundle: Annotated[Path, typer.Argument(help="A bundle with cuts.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT.")] = ":7400",
    tls: Annotated[
        Path | None, typer.Option(help="Folder of certificates, see trimtab certs.")
    ] = None,
    name: Annotated[
        str, typer.Option("--as", help="Whose certificate it shows.")
    ] = "cloud",
    plain: Annotated[
        bool,
        typer.Option("--plain", help="No TLS, though others than this host may ask."),
    ] = False,
    workers: Annotated[
        int, typer.Option(min=1, help="Requests that are worked on at once.")
    ] = 1,
    bytes_per_s: Annotated[
        float | None, typer.Option(min=1, help="Of a client, on average.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer the second half of requests until it is stopped."""
    from trimtab.partition.live import certs
    from trimtab.partition.live.cloud import Cloud, Quotas
    from trimtab.partition.live.open import open_halves
    from trimtab.partition.live.run import serve

    host, port = address(listen)
    if tls is None and not plain and host not in ("127.0.0.1", "::1", "localhost"):
        raise UsageError(
            f"listening on {host} without TLS",
            rule="whoever reaches it could ask, and read what is asked",
            where="trimtab cloud",
            remedy="give --tls FOLDER (trimtab certs FOLDER --name cloud), or --plain "
            "where something else protects the link",
        )
    context = certs.server(tls, name) if tls is not None else None
    halves, _ = open_halves(bundle)
    side = Cloud(
        halves, quotas=Quotas(bytes_per_s=bytes_per_s), tls=context, workers=workers
    )

    what = f"{halves.graph.name}: {len(halves.cuts)} cuts"
    gc.freeze()  # what was imported stays
    gc.enable()  # each connection leaves cycles
    serve(side, host, port, lambda found: _say(what, host, found, as_json))
    if as_json:
        print_json(side.state())
    else:
        console().print(
            f"{side.counts['answers']} answers, {side.counts['refused']} refused, "
            f"{side.counts['broken']} connections that broke the rules"
        )


def _say(what: str, host: str, port: int, as_json: bool) -> None:
    if as_json:
        print_json({"listening": {"host": host, "port": port}})
    else:
        console().print(f"{what}, on {host}:{port}; stop it with Ctrl-C")
