"""What `--model` names, where it is no rszsl checkpoint: a library, and where its files come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rszsl.errors import ModelError

Library = Literal["transformers", "open_clip"]
BETWEEN = "+"
"""Stands between the names of the members, their versions and their hashes."""
LISTED = 8
"""Folders that a message names."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a model's files are.

    Attributes:
        library: which library reads them.
        folder: a local folder, or None.
        repo: `owner/name` on the Hugging Face hub, or "".
        revision: a commit, tag or branch there; "" takes the newest.
        url: address of a file elsewhere, or "".
        member: the weights inside the archive at `url`, or "".
        file: the weights: in the repository, or a local path; "" lets the library choose.
        arch: open_clip's name of the architecture, or "".
        tag: open_clip's name of pretrained weights, or "".
        sha256: of the weights, where it is known.
    """

    library: Library
    folder: Path | None = None
    repo: str = ""
    revision: str = ""
    url: str = ""
    member: str = ""
    file: str = ""
    arch: str = ""
    tag: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class HubCard:
    """The card of a model whose weights stand elsewhere.

    Attributes:
        path: the card's file.
        name: as in `--model`.
        version: of the card.
        source: where the files are.
        input_px: side of its input, or 0 where only the model itself says.
        gsd_m: ground sample distance that we recommend, metres a pixel.
        templates: prompt templates; () takes ours.
        synonyms: further words for names, by `name_key`; beside ours.
        raw: the whole card, for showing.
    """

    path: Path
    name: str
    version: str
    source: Source
    input_px: int
    gsd_m: float
    templates: tuple[str, ...] = ()
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    raw: Mapping[str, object] = field(default_factory=dict)


def member_names(text: str) -> tuple[str, ...]:
    """Read `A+B`; a name without +, and an existing path, are one model.

    Raises:
        ModelError: where a name is missing or stands twice.
    """
    if BETWEEN not in text or Path(text).exists():
        return (text,)
    names = tuple(name.strip() for name in text.split(BETWEEN))
    if not all(names) or len(set(names)) < len(names):
        raise ModelError(f'"{text}" is no ensemble: give two or more different models, as clip-vit-b-16+clip-vit-b-32')
    return names


def parse_source(text: str) -> Source | None:
    """Read a folder, `hf:owner/name[@revision]`, `owner/name` or `open_clip:ARCH[/path or tag]`; None for another text.

    Raises:
        ModelError: for a name with one of those prefixes that cannot be read, or a path in a folder that has no such.
    """
    if text.startswith("open_clip:"):
        return _open_clip(text)
    if Path(text).is_dir():
        return _folder(Path(text))
    name = text.removeprefix("hf:")
    repo, _, revision = name.partition("@")
    parts = repo.split("/")
    if len(parts) == 2 and all(parts) and not repo.startswith((".", "~")):
        _check_no_path(text, parts[0])
        return Source("transformers", repo=repo, revision=revision)
    if text.startswith("hf:"):
        raise ModelError(f'"{text}" is no model of the Hugging Face hub; write hf:owner/name or hf:owner/name@revision')
    return None


def _check_no_path(text: str, first: str) -> None:
    """Tell a mistyped path from `owner/name`: nobody means a hub by the name of a folder that is here."""
    if text.startswith("hf:") or not Path(first).is_dir():
        return
    inside = ", ".join(sorted(child.name for child in Path(first).iterdir() if child.is_dir())[:LISTED]) or "no folder"
    raise ModelError(
        f"the folder {first} has no model {text.removeprefix(f'{first}/')} (it has: {inside}); "
        f"for the repository of that name on the Hugging Face hub write hf:{text}"
    )


def _folder(folder: Path) -> Source | None:
    if (folder / "open_clip_config.json").is_file():
        return Source("open_clip", folder=folder.resolve())
    if (folder / "config.json").is_file():
        return Source("transformers", folder=folder.resolve())
    return None


def _open_clip(text: str) -> Source:
    arch, _, rest = text.removeprefix("open_clip:").partition("/")
    if not arch:
        raise ModelError(f'"{text}" names no architecture; write open_clip:ViT-B-32/laion2b_s34b_b79k or …/weights.pt')
    if not rest:
        raise ModelError(f'"{text}" names no weights; write open_clip:{arch}/TAG or open_clip:{arch}/path/to/weights')
    for path in (Path("/" + rest), Path(rest)):
        if path.is_file():
            return Source("open_clip", arch=arch, file=str(path.resolve()))
    if "/" in rest or Path(rest).suffix in {".pt", ".pth", ".bin", ".safetensors"}:
        raise ModelError(f"no file {rest} (from --model {text}); check the path")
    return Source("open_clip", arch=arch, tag=rest)
