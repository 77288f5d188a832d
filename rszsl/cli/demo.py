"""`rszsl demo`: paint a scene and map it, so that a newcomer sees a result in a minute."""

from pathlib import Path

import click

from rszsl.cli.options import MODEL_OPTIONS, PROGRESS_OPTIONS, options_of


@click.command("demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="rszsl-demo",
    show_default=True,
    help="Folder.",
)
@click.option("--preview/--no-preview", default=True, show_default=True, help="Draw the result as a PNG.")
@options_of(MODEL_OPTIONS, PROGRESS_OPTIONS)
def demo_command(
    out: Path, preview: bool, model: str, device: str, batch_size: int, progress: str, quiet: bool
) -> None:
    """Paint a demo scene (no real place) and map it.

    Writes OUT/demo_scene.tif, OUT/demo_scene.rszsl.gpkg and OUT/demo_scene.png, and replaces earlier ones.
    """
    from rszsl.classes import as_classes
    from rszsl.demo.agreement import measure_agreement
    from rszsl.demo.preview import draw_preview
    from rszsl.demo.scene import DEMO_CLASSES, write_demo_scene
    from rszsl.model.checkpoint import load_model
    from rszsl.options import MapOptions
    from rszsl.pipeline import default_output, map_with
    from rszsl.progress import progress_for

    out.mkdir(parents=True, exist_ok=True)
    scene = write_demo_scene(out / "demo_scene.tif")
    options = MapOptions(model=model, device=device, batch_size=batch_size, overwrite=True)
    path = default_output(str(scene), options.format, out)
    loaded = load_model(model, device=device, precision=options.precision)
    with progress_for(progress, quiet=quiet) as reporter:
        map_with(loaded, str(scene), as_classes(DEMO_CLASSES), path, options, reporter)
    if preview:
        draw_preview(scene, path, out / "demo_scene.png")
    if not quiet and progress != "json":
        click.echo(str(measure_agreement(path)), err=True)
        click.echo(f'same as: rszsl map {scene} --classes "{",".join(DEMO_CLASSES)}" -o {path} --overwrite', err=True)
        click.echo(f"open {path} in QGIS" + (f"; picture: {out / 'demo_scene.png'}" if preview else ""), err=True)
