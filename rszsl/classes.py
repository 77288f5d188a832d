"""The user's list of things to find."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rszsl.errors import ClassListError

OTHER = "other"


def class_key(name: str) -> str:
    """Tell names apart that differ in more than case and spacing."""
    return " ".join(name.casefold().split())


@dataclass(frozen=True, slots=True)
class ClassName:
    """One thing to find: the user's own spelling, and other words for it.

    `ClassName("solar farm", ("photovoltaic plant",))`
    """

    name: str
    synonyms: tuple[str, ...] = ()

    @property
    def phrases(self) -> tuple[str, ...]:
        """The name and its synonyms."""
        return (self.name, *self.synonyms)


def parse_classes(text: str) -> tuple[ClassName, ...]:
    """Parse `"solar farm,quarry"`.

    Raises:
        ClassListError: on an empty or duplicate name, or `other`, which is ours.
    """
    return check_classes((ClassName(part.strip()) for part in text.split(",")), source=f'--classes "{text}"')


def read_classes(path: Path) -> tuple[ClassName, ...]:
    """Read a file with a class a line: `name` or `name: synonym, synonym`; `#` starts a comment.

    Raises:
        ClassListError: where the file cannot be read, or as `parse_classes`.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise ClassListError(f"cannot read the class list {path}: {err}; give a UTF-8 text file") from err
    stripped = (line.partition("#")[0].strip() for line in lines)
    return check_classes((_parse_line(line) for line in stripped if line), source=str(path))


def as_classes(classes: str | Sequence[str | ClassName]) -> tuple[ClassName, ...]:
    """Take what the Python API allows: `"a,b"`, `["a", "b"]` or `ClassName` objects.

    Raises:
        ClassListError: as `parse_classes`.
    """
    if isinstance(classes, str):
        return parse_classes(classes)
    named = (c if isinstance(c, ClassName) else ClassName(c.strip()) for c in classes)
    return check_classes(named, source="the class list")


def spoken(folder: str) -> str:
    """A folder's name as words: `StorageTanks`, `storage_tanks` -> `storage tanks`."""
    parts = "".join(f" {c}" if c.isupper() else c for c in folder.replace("_", " ").replace("-", " "))
    return " ".join(parts.split()).casefold()


def check_classes(classes: Iterable[ClassName], source: str) -> tuple[ClassName, ...]:
    """Refuse an empty list and empty, duplicate or reserved names.

    Raises:
        ClassListError: naming `source` and the class.
    """
    checked = tuple(classes)
    seen: dict[str, str] = {}
    for item in checked:
        key = class_key(item.name)
        if not all(phrase.strip() for phrase in item.phrases):
            raise ClassListError(f"{source} has an empty class name or synonym; remove the stray comma or colon")
        if key == OTHER:
            raise ClassListError(f'{source} has the class "{OTHER}", which rszsl uses for tiles of no class; rename it')
        if key in seen:
            raise ClassListError(f'{source} has the class "{item.name}" twice; keep one')
        seen[key] = item.name
    if not checked:
        raise ClassListError(f'{source} names no class; give some, as in --classes "solar farm,quarry"')
    return checked


def _parse_line(line: str) -> ClassName:
    name, colon, rest = line.partition(":")
    synonyms = tuple(s.strip() for s in rest.split(",")) if colon else ()
    return ClassName(name.strip(), synonyms)
