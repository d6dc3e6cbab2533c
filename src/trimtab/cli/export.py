"""`trimtab export`: a network or a bundle as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.output import console, print_json, progress_bar

__all__ = ["export"]


def export(
    network: Annotated[
        str,
        typer.Argument(
            help="zoo:NAME, package.module:factory, a .py or .onnx file, or a bundle.",
            metavar="NET",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", help="SHAPE or NAME=DTYPE[SHAPE]; repeat for several."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file to load.")
    ] = None,
    opset: Annotated[int, typer.Option(help="Of ONNX's operators, 18 to 23.")] = 20,
    fixed: Annotated[
        bool,
        typer.Option(
            "--fixed", help="Keep the shapes of the inputs; else any batch will do."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a network as ONNX, checked and compared with the network itself."""
    with progress_bar(quiet=as_json) as progress:
        progress("load", 0.0, "starting")
        from trimtab.onnx.write import require_free, write
        from trimtab.pipeline.network import open_network

        require_free(output, overwrite=overwrite)
        opened = open_network(
            network,
            inputs=inputs or (),
            weights=None if weights is None else str(weights),
        )
        progress("load", 1.0, opened.name)
        progress("export", 0.0, "exporting and comparing")
        written = write(
            opened.module,
            opened.args,
            opened.kwargs,
            path=output,
            opset=opset,
            any_batch=not fixed,
            overwrite=overwrite,
        )
        progress("export", 1.0, f"{written.operators} operators")
    if as_json:
        from dataclasses import asdict

        record = asdict(written)
        print_json({"network": opened.name, **record, "path": str(written.path)})
        return
    from trimtab.units import format_bytes

    out = console()
    out.print(
        f"{opened.name}: {written.operators} operators of opset {written.opset}, "
        f"{format_bytes(written.bytes)}, "
        + ("for any batch" if written.any_batch else "for these shapes alone")
    )
    out.print(f"takes {', '.join(written.inputs)}", markup=False)
    out.print(f"gives {', '.join(written.outputs)}", markup=False)
    found = written.comparison
    if found is None:
        out.print("not compared with the network: onnxruntime is not installed")
    else:
        out.print(
            f"differs from the network by {found.largest_difference:.3g} at most, "
            f"{found.relative_difference:.2g} of the largest number "
            f"({found.engine}, {found.calls} call(s))"
        )
    out.print(f"written to {written.path}")
