"""`rszsl train` and `rszsl eval`: models of one's own, and how well any model does on labelled images."""

from pathlib import Path

import click

from rszsl.cli.options import TRUST_OPTION


@click.command("train")
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--backbone", metavar="NAME", default="",
              help="Take this frozen tower, not the recipe's: a CLIP-like model that --model takes.")  # fmt: skip
@click.option("--standalone", is_flag=True, help="Keep that tower's weights in the model, instead of naming it.")
@TRUST_OPTION
def train_command(recipe: Path, backbone: str, standalone: bool, trust_pickle: bool) -> None:
    """Train DSVA on a folder of images; run it again to go on after an interruption.

    RECIPE is a TOML file, as examples/train_ucm.toml. The model folder that it writes is one for --model.
    """
    from rszsl.zsl.runs.finish import finish
    from rszsl.zsl.runs.recipe import read_train_recipe, with_tower
    from rszsl.zsl.runs.train import Training

    read = with_tower(read_train_recipe(recipe), backbone, standalone=standalone, trust_pickle=trust_pickle)
    result = finish(Training(read, lambda line: click.echo(line, err=True)).run())
    click.echo(
        f"{read.output}: {result['accuracy']:.3f} among {result['unseen']} unseen classes "
        f"(chance {result['chance']:.3f}), U {result['U']:.3f}, S {result['S']:.3f}, H {result['H']:.3f}"
    )


@click.command("eval")
@click.argument("images", type=click.Path(exists=True, path_type=Path))
@click.option("--model", required=True, metavar="NAME_OR_PATH", help="Any model that `rszsl map` takes.")
@click.option("--classes", metavar="NAMES", help="Only these classes of the images, comma-separated; default: all.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@TRUST_OPTION
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the result as JSON.")
@click.option("--figures", type=click.Path(file_okay=False, path_type=Path), help="Draw every picture into a folder.")
def eval_command(
    images: Path, model: str, classes: str | None, device: str, trust_pickle: bool, batch_size: int,
    output: Path | None, figures: Path | None,
) -> None:  # fmt: skip
    """Measure a model on labelled images: a folder of class folders, or a CSV `path,class`."""
    from rszsl.classes import parse_classes
    from rszsl.zsl.runs.measure import measure, write_json

    names = tuple(item.name for item in parse_classes(classes)) if classes else None
    found = measure(images, model, names, device=device, trust_pickle=trust_pickle, batch_size=batch_size)
    for name, share in found.by_class.items():
        click.echo(f"{name:30s} {share:.3f}")
    click.echo(f"{found.accuracy:.3f} mean per class of {len(found.classes)} (chance {1 / len(found.classes):.3f})")
    if output:
        write_json(found, output)
    if figures:
        from rszsl.zsl.runs.pictures import draw_all

        for file in draw_all(found, figures):
            click.echo(file)
