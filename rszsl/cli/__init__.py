"""The command line. Commands import the engine only when they run, so that `--help` answers at once."""

import signal
import sys
from itertools import pairwise

import click

from rszsl.cli.annotate import annotate_command
from rszsl.cli.attributes import attributes_command
from rszsl.cli.batch import batch_command
from rszsl.cli.bench import bench_command
from rszsl.cli.benchmark import benchmark_command
from rszsl.cli.cached import embed_command, relabel_command, search_command
from rszsl.cli.demo import demo_command
from rszsl.cli.duplicates import duplicates_command
from rszsl.cli.finetune import finetune_command
from rszsl.cli.map import map_command
from rszsl.cli.models import models_group
from rszsl.cli.train import eval_command, train_command
from rszsl.errors import RszslError
from rszsl.model.memory import keep_freed_memory
from rszsl.progress import JsonLines

EXIT_ERROR, EXIT_USAGE, EXIT_TILES_FAILED, EXIT_INTERRUPTED = 1, 2, 3, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rszsl")
def cli() -> None:
    r"""Map anything you can name: zero-shot labels for large georeferenced rasters.

    \b
    rszsl map scene.tif --classes "solar farm,quarry"
    """
    keep_freed_memory()


for _command in (
    map_command,
    batch_command,
    embed_command,
    relabel_command,
    search_command,
    attributes_command,
    annotate_command,
    finetune_command,
    models_group,
    demo_command,
    bench_command,
    benchmark_command,
    train_command,
    eval_command,
    duplicates_command,
):
    cli.add_command(_command)


def main(args: list[str] | None = None) -> None:
    """Run a command; turn what went wrong into one line on stderr and an exit code.

    0 all tiles accounted for, none failed; 1 a user's mistake or an input that cannot be mapped; 2 usage;
    3 finished, but tiles or scenes failed; 130 interrupted.
    """
    arguments = sys.argv[1:] if args is None else args
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends like Ctrl-C: nothing half-written
    try:
        code = cli.main(arguments, prog_name="rszsl", standalone_mode=False)
    except RszslError as err:
        code = _fail(str(err), arguments)
    except click.ClickException as err:
        err.show()
        code = EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; no output was written for the scene in progress (--cache keeps its tiles)", err=True)
        code = EXIT_INTERRUPTED
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, arguments: list[str]) -> int:
    line = " ".join(message.split())
    if "--progress=json" in arguments or ("--progress", "json") in pairwise(arguments):
        JsonLines().error(line)
    click.echo(f"error: {line}", err=True)
    return EXIT_ERROR
