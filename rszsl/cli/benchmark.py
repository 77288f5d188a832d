"""`rszsl benchmark`: every method on every split, fairly."""

from pathlib import Path

import click


@click.command("benchmark")
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes, a thread each.")
@click.option(
    "--table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table of this recipe's results into FILE, between its marks.",
)
@click.option("--table-only", is_flag=True, help="Run nothing; write the table from the results that are there.")
def benchmark_command(recipe: Path, jobs: int, table: Path | None, table_only: bool) -> None:
    """Compare zero-shot methods on frozen features; what is recorded is not run again.

    RECIPE is a TOML file, as examples/benchmark_frozen.toml.
    """
    from rszsl.zsl.experiments.benchmark import read_results, run_benchmark
    from rszsl.zsl.experiments.recipe import read_recipe
    from rszsl.zsl.experiments.table import difference_table, insert_table, result_table

    read = read_recipe(recipe)
    if not table_only:
        run_benchmark(read, jobs, lambda line: click.echo(line, err=True))
    records, name = read_results(read), read.results.name
    tables = {name: result_table(records)}
    if read.compare:
        tables[f"{name}-differences"] = difference_table(records, read.compare)
    for mark, text in tables.items():
        if table is None:
            click.echo(text)
        else:
            insert_table(table, mark, text)
