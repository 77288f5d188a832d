"""`rszsl bench`: how fast this machine maps, and what limits it."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rszsl.cli.options import MODEL_OPTIONS, PRECISION_OPTION, TRUST_OPTION, VIEWS_OPTION, options_of

if TYPE_CHECKING:
    from rszsl.bench import Bench

OWN_OVERLAP = 0.5
"""Of the tiles of the painted scene, so that it has some hundreds."""


@click.command("bench")
@click.argument("scene", required=False)
@options_of((*MODEL_OPTIONS, PRECISION_OPTION, VIEWS_OPTION, TRUST_OPTION))
@click.option("--tiles", type=click.IntRange(min=1), default=256, show_default=True, help="How many, at most.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures there, too.")
def bench_command(
    scene: str | None,
    model: str,
    device: str,
    batch_size: int,
    precision: str,
    views: int,
    trust_pickle: bool,
    tiles: int,
    file: Path | None,
) -> None:
    """Measure reading, model, writing and the whole map on the first tiles of SCENE, or of a painted one."""
    from rszsl.bench import measure_scene, write_json
    from rszsl.demo.scene import write_demo_scene
    from rszsl.options import MapOptions
    from rszsl.pipeline.mapping import loaded_model

    options = MapOptions(
        model=model,
        device=device,
        precision=precision,
        views=views,
        batch_size=batch_size,
        trust_pickle=trust_pickle,
        overlap=0.0 if scene else OWN_OVERLAP,
    )
    loaded = loaded_model(None, model, options)
    with tempfile.TemporaryDirectory(prefix="rszsl-bench-") as folder:
        path = scene or str(write_demo_scene(Path(folder) / "painted.tif"))
        found = replace(measure_scene(path, loaded, options, tiles), scene=scene or "painted")
    if file is not None:
        write_json(found, file)
    _show(found)


def _show(found: "Bench") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "tiles/s", "")
    for part, speed in found.tiles_per_s.items():
        table.add_row(part, f"{speed:.1f}", "limits" if part == found.limits else "")
    console = Console()
    console.print(table)
    console.print(
        f"{found.tiles} tiles, {found.model} in {found.precision} by {found.runtime} on {found.device}, "
        f"batches of {found.batch_size}, views of a tile: {found.views}, {found.threads} threads",
        markup=False,
    )
