"""Several tables of class rows as one, side by side."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from rszsl.errors import TrainingError
from rszsl.zsl.problem import ClassTable
from rszsl.zsl.rows.common import build_table


def combine_rows(tables: Sequence[ClassTable], weights: Sequence[float] | None = None) -> ClassTable:
    """Put the columns of several tables beside each other: cosines of the result are weighted means of theirs.

    Args:
        tables: of the same classes.
        weights: what each counts, positive; None: all the same.

    Raises:
        TrainingError: where the classes differ, or a weight is not positive.
    """
    shares = [1.0] * len(tables) if weights is None else list(weights)
    if len(shares) != len(tables) or min(shares, default=0) <= 0:
        raise TrainingError(f"{len(tables)} tables need as many positive weights, not {shares}")
    for table in tables[1:]:
        if odd := sorted(set(table.names) ^ set(tables[0].names)):
            raise TrainingError(f"the class {odd[0]!r} is in one of the tables but not in another")
    times = Counter(name for table in tables for name in set(table.attributes))
    names = [
        f"{table.record.get('provider', number)}: {name}" if times[name] > 1 else name
        for number, table in enumerate(tables)
        for name in table.attributes
    ]
    images = [table.record.get("images_per_class") for table in tables]
    used = [table.record.get("unseen_images_used") for table in tables]
    return build_table(
        tables[0].names,
        np.concatenate([np.sqrt(share) * table.rows for share, table in zip(shares, tables, strict=True)], axis=1),
        names,
        {
            "provider": "+".join(str(table.record.get("provider")) for table in tables),
            "weights": shares,
            "parts": [dict(table.record) for table in tables],
            "images_per_class": next((count for count in images if count), images[0]),
            "unseen_images_used": True if True in used else (None if None in used else False),
        },
        [family for table in tables for family in _families(table)],
    )


def _families(table: ClassTable) -> list[str | None]:
    family = {column: name for name, columns in table.groups.items() for column in columns}
    return [family.get(column) for column in range(len(table.attributes))]
