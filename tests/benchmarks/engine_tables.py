"""Write the records of the engine's benchmarks as tables into docs/BENCHMARKS.md.

python tests/benchmarks/engine_tables.py
"""

import json

from record import FOLDER, ROOT

from rszsl.zsl.experiments.table import insert_table

RECORDS = {
    "read": "Reading",
    "map": "The whole of `map`",
    "map_size": "Memory and time of `map` by size",
    "scale": "Writing, relabelling and memory after the model",
    "precision": "Precision and runtimes",
    "launch": "What a command costs before it works",
    "profile": "Where the time goes",
    "dask": "A Dask cluster on two cores",
}


def main():
    """Make a table of each record that is there, and put them between the marks of the page."""
    found = [(FOLDER / f"{name}.json", title) for name, title in RECORDS.items()]
    text = "\n".join(section(json.loads(f.read_text("utf-8")), title) for f, title in found if f.exists())
    insert_table(ROOT / "docs" / "BENCHMARKS.md", "engine", text)


def section(record, title):
    """A heading, where the figures come from, and a line for each of them."""
    machine = record["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, load {machine['load_1min']} when it ended"
    lines = [f"### {title}", "", f"`{record['command']}`: {record['what']}. {where}.", "", "| of | figure | value |"]
    lines += ["| --- | --- | ---: |", *(f"| {of} | {name} | {value} |" for of, name, value in flat(record["figures"]))]
    return "\n".join([*lines, ""])


def flat(figures, of=()):
    """Every leaf of nested figures, with the names on the way to it."""
    for name, value in figures.items():
        label = str(name).replace("_", " ")
        if isinstance(value, dict):
            yield from flat(value, (*of, label))
        else:
            yield ", ".join(of), label, value


if __name__ == "__main__":
    main()
