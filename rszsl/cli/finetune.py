"""`rszsl finetune-clip`: teach a CLIP pictures with captions."""

import os
from pathlib import Path
from typing import Any

import click

from rszsl.cli.options import TRUST_OPTION


@click.command("finetune-clip")
@click.argument("captions", type=click.Path(path_type=Path))
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the pictures; default: beside CAPTIONS.")
@click.option("--model", required=True, help="A CLIP or SigLIP in the transformers layout, as for map.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the model.")
@click.option("--resume", is_flag=True, help="Go on where an earlier run with the same options stopped.")
@click.option("--test-split", type=click.Choice(["val", "test"]), default="test", show_default=True)
@click.option("--epochs", type=int, default=5, show_default=True)
@click.option("--batch-size", type=int, default=64, show_default=True, help="Pictures a step, over all processes.")
@click.option("--part-size", type=int, default=64, show_default=True, help="Pictures embedded at once; same result.")
@click.option("--lr", "learning_rate", type=float, default=1e-5, show_default=True)
@click.option("--weight-decay", type=float, default=0.1, show_default=True)
@click.option(
    "--freeze", type=click.Choice(["nothing", "image", "text", "towers"]), default="nothing", show_default=True
)
@click.option("--lora", type=int, default=0, show_default=True, metavar="RANK", help="Train adapters of that rank.")
@click.option("--augment/--no-augment", default=True, show_default=True, help="Change pictures as captions allow.")
@click.option(
    "--interpolate",
    "share",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Also write OUT/interpolated: so much of the new weights, the rest of the old; it keeps open vocabulary.",
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@TRUST_OPTION
def finetune_command(
    captions: Path,
    images: Path | None,
    model: str,
    out: Path,
    resume: bool,
    test_split: str,
    share: float | None,
    device: str,
    trust_pickle: bool,
    **options: Any,
) -> None:
    """Fine-tune a CLIP on CAPTIONS: RSICD's JSON, a folder of *_caps.txt, CSV, or webdataset tar files.

    Prints retrieval recall and zero-shot accuracy before training and after each epoch. Under torchrun, each process
    takes its share of every batch.
    """
    from rszsl.finetune.captions import read_captions
    from rszsl.finetune.run import interpolate_folders, run, started_processes
    from rszsl.finetune.train import HISTORY, FinetuneOptions

    chosen = FinetuneOptions(**options)
    if (out / HISTORY).exists() and not resume:
        raise click.UsageError(f"{out} holds an earlier run; give --resume, or another --out.")
    train, test = (read_captions(captions, images, split) for split in ("train", test_split))
    say = click.echo if int(os.environ.get("RANK", "0")) == 0 else (lambda line: None)
    say(f"{len(train)} pictures to learn from, {len(test)} to test on")
    with started_processes(device) as own:
        run(model, train, test, out, chosen, device=own, resume=resume, trust_pickle=trust_pickle, log=say)
    if share is not None and int(os.environ.get("RANK", "0")) == 0:
        say(str(interpolate_folders(model, out, share, out / "interpolated")))
