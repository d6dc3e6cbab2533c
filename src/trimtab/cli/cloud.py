"""`trimtab cloud`: the cloud's side of a divided network."""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.output import console, print_json, progress_bar
from trimtab.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    import ssl

    from fastapi import FastAPI

    from trimtab.partition.live.segments import Make
    from trimtab.runtime.tokens import Token
    from trimtab.runtime.web import Server

__all__ = [
    "Compiled",
    "TokenFile",
    "address",
    "cloud",
    "guard",
    "http_server",
    "parts_of",
    "require_address",
    "require_http",
]

TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="File of the token that is asked with over HTTP; else TRIMTAB_TOKEN.",
    ),
]


Compiled = Annotated[
    bool,
    typer.Option(
        "--compile", help="Run machine code, made at the start for this machine."
    ),
]


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


def guard(option: str, host: str, *, tls: Path | None, plain: bool) -> None:
    """Refuse to listen for others without TLS.

    Args:
        option: that gave the host.
        host: to listen on.
        tls: folder of certificates.
        plain: whether it is wanted all the same.

    Raises:
        UsageError: others than this machine could ask, or both are given.
    """
    if tls is not None and plain:
        raise UsageError(
            "--tls with --plain",
            rule="what goes over a link is encrypted, or it is not",
            where=option,
            remedy="leave out --plain",
        )
    if tls is None and not plain and host not in ("127.0.0.1", "::1", "localhost"):
        raise UsageError(
            f"listening on {host} without TLS",
            rule="whoever reaches it could ask, and read what is asked",
            where=option,
            remedy="give --tls FOLDER (see trimtab certs), or --plain "
            "where something else protects the link",
        )


def http_server(
    app: FastAPI,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    token: Token | None = None,
) -> Server:
    """Return a server of an application, not started yet.

    On loopback it is without TLS.

    Raises:
        UsageError: the address cannot be had.
    """
    from trimtab.runtime.web import Server, is_loopback

    context = None if is_loopback(host) else tls
    return Server(app, host, port, tls=context, token=token, stopping=app.state.stop)


def require_http() -> None:
    """Refuse ``--http`` where its packages are not installed.

    Raises:
        MissingExtraError: one is not.
    """
    try:
        import fastapi
        import httptools
        import prometheus_client
        import uvicorn
        import uvloop
    except ImportError as error:
        raise MissingExtraError(
            "an HTTP server",
            rule=f"the package {error.name} is not installed",
            where="--http",
            remedy="install the extra: pip install 'trimtab[edge]'",
        ) from None
    del fastapi, httptools, prometheus_client, uvicorn, uvloop


@contextlib.contextmanager
def parts_of(compiled: bool, *, quiet: bool) -> Iterator[Make | None]:
    """Give what compiles parts of a network for this machine, if that is asked for.

    Raises:
        MissingExtraError: TVM is not installed.
    """
    if not compiled:
        yield None
        return
    import torch

    from trimtab.pipeline.divided import Compiler

    with progress_bar(quiet=quiet) as progress:
        progress("compile", 0.0, "starting")
        count = itertools.count(1)
        yield Compiler(
            torch.get_num_threads(),
            lambda name: progress("compile", 0.0, f"part {next(count)}: {name}"),
        )
        progress("compile", 1.0, f"{next(count) - 1} parts")


def require_address(
    http: str | None, *, dashboard: bool, token_file: Path | None
) -> None:
    """Refuse what belongs to ``--http`` without it.

    Raises:
        UsageError: it is so.
    """
    if http is None and (dashboard or token_file is not None):
        raise UsageError(
            "--dashboard" if dashboard else "--token-file",
            rule="it is of an HTTP interface, which needs an address",
            where="command line",
            remedy="give --http :8080 as well",
        )


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
    lazy: Annotated[
        bool, typer.Option("--lazy", help="Only layers that edges need in memory.")
    ] = False,
    memory: Annotated[
        str | None, typer.Option(help="For weights, such as 200MB; with --lazy.")
    ] = None,
    compiled: Compiled = False,
    http: Annotated[
        str | None, typer.Option(help="HOST:PORT of its health and metrics.")
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="With --http: a live page, too.")
    ] = False,
    token_file: TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Answer the second half of requests until it is stopped."""
    from trimtab.partition.live.cloud import Cloud, Quotas
    from trimtab.partition.live.open import open_halves
    from trimtab.partition.live.run import serve
    from trimtab.runtime import certs
    from trimtab.runtime.tokens import read_token
    from trimtab.units import parse_bytes

    host, port = address(listen)
    if memory is not None and not lazy:
        raise UsageError(
            f"memory of {memory} without --lazy",
            rule="all layers are in memory, whatever they need",
            where="trimtab cloud",
            remedy="give --lazy, too",
        )
    if compiled and lazy:
        raise UsageError(
            "--compile with --lazy",
            rule="machine code is made once, of all layers",
            where="trimtab cloud",
            remedy="leave out one of them",
        )
    guard("--listen", host, tls=tls, plain=plain)
    require_address(http, dashboard=dashboard, token_file=token_file)
    page = None
    if http is not None:
        page = address(http)
        guard("--http", page[0], tls=tls, plain=plain)
        require_http()
    token = read_token(token_file)
    context = certs.server(tls, name) if tls is not None else None
    most = None if memory is None else parse_bytes(memory)
    with parts_of(compiled, quiet=as_json) as make:
        halves, _ = open_halves(bundle, first=range(0) if lazy else None, make=make)
    side = Cloud(
        halves, quotas=Quotas(bytes_per_s=bytes_per_s), tls=context, workers=workers,
        lazy=lazy, most_bytes=most,
    )  # fmt: skip

    what = f"{halves.graph.name}: {len(halves.cuts)} cuts"
    gc.freeze()  # what was imported stays
    gc.enable()  # each connection leaves cycles
    with contextlib.ExitStack() as stack:
        told = None
        if page is not None:
            from trimtab.partition.live.http import cloud_app

            app = cloud_app(side, shown=dashboard)
            told = stack.enter_context(http_server(app, *page, context, token)).url
        serve(
            side, host, port,
            lambda found: _say(what, host, found, told, dashboard, as_json),
        )  # fmt: skip
    if as_json:
        print_json(side.state())
    else:
        console().print(
            f"{side.counts['answers']} answers, {side.counts['refused']} refused, "
            f"{side.counts['broken']} connections that broke the rules"
        )


def _say(
    what: str, host: str, port: int, http: str | None, dashboard: bool, as_json: bool
) -> None:
    if as_json:
        told = {"listening": {"host": host, "port": port}}
        print_json(told if http is None else {**told, "http": http})
        return
    console().print(f"{what}, on {host}:{port}; stop it with Ctrl-C")
    if http is not None:
        console().print(f"live page: {http}/" if dashboard else f"{http}/metrics")
