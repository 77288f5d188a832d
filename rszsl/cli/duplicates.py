"""`rszsl duplicates`: which images of one data set also stand in another."""

from pathlib import Path

import click

EXISTING = click.Path(exists=True, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("duplicates")
@click.argument("first", type=EXISTING)
@click.argument("second", type=EXISTING)
@click.option("--threshold", type=float, help="Similarity above which two images are one.  [default: 0.93]")
@click.option(
    "--turned",
    is_flag=True,
    help="Also find images that are turned or mirrored; standard markings, as on runways, may be found too.",
)
@click.option(
    "--embeddings", type=EXISTING, nargs=2, help="Compare these vectors (.npy, a row an image) instead of thumbnails."
)
@click.option("-o", "--output", type=FILE, help="CSV of the pairs; --leave-out reads it.")
@click.option("--record", type=FILE, help="JSON that the counts are added to.")
def duplicates_command(
    first: Path,
    second: Path,
    threshold: float | None,
    turned: bool,
    embeddings: tuple[Path, Path] | None,
    output: Path | None,
    record: Path | None,
) -> None:
    """Find the images of SECOND that also stand in FIRST; both are folders of class folders, or CSVs.

    With the same folder twice, images that stand in it more than once. Two images are one where their grey thumbnails
    of 24 px correlate above the threshold and their fine structure agrees.
    """
    from rszsl.zsl.data.duplicates import THRESHOLD, confirm, find_duplicates, thumbnails
    from rszsl.zsl.data.duplicates_report import add_record, read_vectors, summary, write_pairs
    from rszsl.zsl.data.layouts import read_images

    a, b = read_images(first), read_images(second)
    within = first.resolve() == second.resolve()
    level = THRESHOLD if threshold is None else threshold
    unusable = 0
    if embeddings:
        one, two = read_vectors(embeddings[0], a), read_vectors(embeddings[1], b)
    else:
        small_a = thumbnails(a)
        small_b = small_a if within else thumbnails(b)
        one, two, unusable = small_a.pixels, small_b.pixels, len(small_a.unusable)
        unusable += 0 if within else len(small_b.unusable)
    found = find_duplicates(one, None if within else two, level, turned=turned)
    if not embeddings:
        found = confirm(found, a, b)
    click.echo(
        f"{a.name} ({len(a)}) and {b.name} ({len(b)}): {len(found.pairs)} pairs above {level} "
        f"(and {found.rejected} alike in the large only); {len(found.leave_out)} images of {b.name} to leave out; "
        f"{unusable} flat or unreadable images not compared"
    )
    if output:
        write_pairs(output, found, a, b)
    if record:
        names = " ".join(("rszsl duplicates", first.name, second.name, *(["--turned"] if turned else [])))
        settings = {"threshold": level, "turned": turned, "vectors": "embeddings" if embeddings else "24 px grey"}
        command = f"{names} --threshold {level}"
        add_record(record, {"command": command, **summary(found, a, b, **settings, not_compared=unusable)})
