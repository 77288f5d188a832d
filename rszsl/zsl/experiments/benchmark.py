"""Run a benchmark: every method on every split and seed; what is recorded is not run again."""

import shlex
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rszsl.errors import TrainingError
from rszsl.zsl.data.splits import draw_classes, draw_images
from rszsl.zsl.experiments.features import data_key, open_dataset, prepare
from rszsl.zsl.experiments.methods import build_method, parts_of
from rszsl.zsl.experiments.protocol import evaluate
from rszsl.zsl.experiments.recipe import BenchmarkRecipe
from rszsl.zsl.experiments.results import (
    Provenance,
    Record,
    ResultKey,
    git_revision,
    key_of,
    read_records,
    write_records,
)

RAW_TOKENS = ("dsva paper",)
"""Methods that want tokens as the tower's last block gives them, before its final norm (METHOD B.2)."""


@dataclass(frozen=True, slots=True)
class Task:
    """One method on one split."""

    recipe: BenchmarkRecipe
    key: ResultKey
    command: str

    @property
    def keys(self) -> set[ResultKey]:
        """Of the records that it makes."""
        return {replace(self.key, method=name) for name in parts_of(self.key.method)}


def run_benchmark(recipe: BenchmarkRecipe, jobs: int, log: Callable[[str], None]) -> int:
    """Run what has no record yet; returns how many runs that were.

    Args:
        recipe: what to run.
        jobs: processes, each with one thread.
        log: takes one line at a time.

    Raises:
        TrainingError: where data, rows or a method are not there.
    """
    for name, _ in recipe.methods:
        build_method(name)  # a slip in a name is told before anything is computed
    prepare(recipe, log)
    done = {key_of(record) for record in _fitting_records(recipe)}
    tasks = [task for task in _tasks(recipe) if not done.issuperset(task.keys)]
    log(f"{len(tasks)} of {len(list(_tasks(recipe)))} runs to do")
    for count, records in enumerate(_run_all(tasks, jobs), start=1):
        for record in records:
            _keep(recipe.results, record)
            log(f"{count} of {len(tasks)}: {_line(record)}")
    return len(tasks)


def read_results(recipe: BenchmarkRecipe) -> list[dict[str, Any]]:
    """Read the records of a benchmark, with those from `beside` that its own are compared with.

    Raises:
        TrainingError: where a file is no list of records.
    """
    records = read_records(recipe.results)
    if recipe.beside is None:
        return records
    splits = {(data.name, *split) for data in recipe.data for split in data.splits}
    wanted = {second for _, second in recipe.compare}
    return records + [
        r for r in read_records(recipe.beside)
        if (r["dataset"], r["seen"], r["unseen"]) in splits and (r["method"], r["rows"]) in wanted
    ]  # fmt: skip


def _fitting_records(recipe: BenchmarkRecipe) -> list[dict[str, Any]]:
    """Read what is recorded; it must be of these images and this tower, or the table would mix two worlds."""
    records = read_records(recipe.results)
    for data in recipe.data:
        now = data_key(recipe, data.name)
        mine = [r for r in records if r["dataset"] == data.name and r["tower"] == recipe.tower.name]
        if other := [r for r in mine if r["data_sha256"] != now]:
            raise TrainingError(
                f"{recipe.results / _file_of(other[0])} holds results of other images or weights of {data.name} "
                f"(sha256 {other[0]['data_sha256'][:12]}, now {now[:12]}); remove them, or name another `results`"
            )
    return records


def _run_all(tasks: list[Task], jobs: int) -> Iterator[list[dict[str, Any]]]:
    """Run tasks, one alone in this process; where one fails, those that have not begun are dropped."""
    if jobs == 1:
        _one_thread()
        yield from map(run_task, tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        try:
            yield from (future.result() for future in as_completed([pool.submit(run_task, task) for task in tasks]))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def run_task(task: Task) -> list[dict[str, Any]]:
    """Run one method on one split and give its records."""
    key, recipe = task.key, task.recipe
    started = time.monotonic()
    data = open_dataset(recipe, key.dataset, key.rows, aligned=key.method not in RAW_TOKENS)
    split = draw_classes(data.table.names, key.seen, key.unseen, key.seed)
    train = draw_images(data.labels, split, key.seed).train
    outcomes = evaluate(build_method(key.method), data, split, key.seed, parts_of(key.method))
    provenance = Provenance(
        command=task.command,
        data_sha256=data_key(recipe, key.dataset),
        rows_record=dict(data.table_for(train, split.seen).record),
        git=git_revision(Path(__file__).parent),
        seconds=time.monotonic() - started,
    )
    return [Record(replace(key, method=name), outcome, provenance).to_json() for name, outcome in outcomes.items()]


def _tasks(recipe: BenchmarkRecipe) -> Iterator[Task]:
    command = f"rszsl benchmark {shlex.quote(recipe.path.as_posix())}"
    for seed in recipe.seeds:
        for data in recipe.data:
            for seen, unseen in data.splits:
                for method, kinds in recipe.methods:
                    for rows in kinds:
                        key = ResultKey(data.name, seen, unseen, seed, method, rows, recipe.tower.name)
                        yield Task(recipe, key, command)


def _keep(folder: Path, record: dict[str, Any]) -> None:
    file = folder / _file_of(record)
    kept = [other for other in read_records(folder) if _file_of(other) == file.name]
    write_records(file, [*kept, record])


def _file_of(record: dict[str, Any]) -> str:
    return f"{record['dataset']}-{record['seen']}-{record['unseen']}.json"


def _line(record: dict[str, Any]) -> str:
    what = f"{record['dataset']} {record['seen']}/{record['unseen']} seed {record['seed']} {record['method']}"
    return (
        f"{what} ({record['rows']}): {record['accuracy']:.3f}, H {record['harmonic']:.3f} in {record['seconds']:.0f} s"
    )


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
