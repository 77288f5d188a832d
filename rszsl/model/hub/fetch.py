"""Bring a model's files onto this machine, or find them here; the hub is asked only for what is not at hand."""

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rszsl.errors import ModelError
from rszsl.model.hub import huggingface, openclip
from rszsl.model.hub.source import Source
from rszsl.model.hub.store import CHUNK_BYTES, downloads

SMALL_FILES = ("*.json", "*.txt", "*.model")
TIMEOUT_S = 30

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A model's files on this machine.

    Attributes:
        place: the folder (transformers, open_clip's own layout) or the file of the weights.
        weights: the files that hold them, whose hash names the model.
        revision: the commit that they are of, or "".
    """

    place: Path
    weights: tuple[Path, ...]
    revision: str = ""


def fetch(source: Source, name: str, *, trust_pickle: bool = False) -> Fetched:
    """Find the files of a model here, or fetch them.

    Args:
        source: where they are.
        name: of the model, for messages.
        trust_pickle: fetch a pickle where there is nothing safer.

    Raises:
        ModelError: where they are neither here nor to be had.
    """
    if source.folder is not None:
        return _of_folder(source, source.folder, "", trust_pickle=trust_pickle)
    if source.library == "transformers":
        return _snapshot(source, name, trust_pickle=trust_pickle)
    if source.url:
        return _of_file(_from_archive(source, name))
    if source.repo:
        return _hub_file(source.repo, source.revision, (source.file,), name)
    if source.tag:
        repo, files = openclip.tagged_places(source.arch, source.tag)
        return _hub_file(repo, source.revision, files, name)
    return _of_file(Path(source.file))


def at_hand() -> str:
    """What can be used without any hub, for messages."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    from rszsl.model.checkpoint import list_models

    try:
        cached = sorted(repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model")
    except CacheNotFound:
        cached = []
    return f"in the local cache: {', '.join(cached) or 'nothing'}; bundled: {', '.join(list_models())}"


def _of_folder(source: Source, folder: Path, revision: str, *, trust_pickle: bool) -> Fetched:
    if source.library == "open_clip":
        return Fetched(folder, (openclip.find_weights(folder),), revision)
    return Fetched(folder, tuple(huggingface.weights_files(folder, trust_pickle=trust_pickle)), revision)


def _of_file(file: Path, revision: str = "") -> Fetched:
    return Fetched(file, (file,), revision)


def _snapshot(source: Source, name: str, *, trust_pickle: bool) -> Fetched:
    """A whole repository in the transformers layout, without the weights of other frameworks."""
    from huggingface_hub import snapshot_download

    def get(local: bool, wanted: tuple[str, ...]) -> Path:
        patterns = [*SMALL_FILES, *wanted]
        kept = snapshot_download(
            source.repo, revision=source.revision or None, allow_patterns=patterns, local_files_only=local
        )
        return Path(kept)

    def has_weights(folder: Path) -> bool:
        return any(folder.glob("*.safetensors")) or (trust_pickle and (folder / huggingface.PICKLE_FILE).is_file())

    folder = _cached(lambda: get(True, ("*.safetensors",)))
    if folder is None or not has_weights(folder):
        folder = _asked(lambda: get(False, ("*.safetensors",)), name)
    if not has_weights(folder) and trust_pickle:
        folder = _asked(lambda: get(False, (huggingface.PICKLE_FILE,)), name)
    if not has_weights(folder):
        raise ModelError(
            f"{name} has no *.safetensors; where it has a pickle that you trust, give --trust-pickle "
            "(it is then read with weights_only)"
        )
    return _of_folder(source, folder, folder.name, trust_pickle=trust_pickle)


def _hub_file(repo: str, revision: str, files: tuple[str, ...], name: str) -> Fetched:
    """The first of several files that a repository has."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    def get(file: str, local: bool) -> Path:
        return Path(hf_hub_download(repo, file, revision=revision or None, local_files_only=local))

    for file in files:
        if (found := _cached(lambda file=file: get(file, True))) is not None:  # type: ignore[misc]
            return _of_file(found, _commit_of(found, file))
    for file in files:
        try:
            found = _asked(lambda file=file: get(file, False), name)  # type: ignore[misc]
        except ModelError as err:
            cause = err.__cause__
            if isinstance(cause, EntryNotFoundError) and not isinstance(cause, LocalEntryNotFoundError):
                continue
            raise
        return _of_file(found, _commit_of(found, file))
    raise ModelError(f"{repo} has none of {', '.join(files)}; name another repository or file")


def _commit_of(found: Path, file: str) -> str:
    """`…/snapshots/COMMIT/folder/file` -> COMMIT."""
    return found.parents[len(Path(file).parts) - 1].name


def _cached(get: Callable[[], T]) -> T | None:
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return get()
    except LocalEntryNotFoundError:
        return None


def _asked(get: Callable[[], T], name: str) -> T:
    """Ask the hub; turn its many errors into ours."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return get()
    except GatedRepoError as err:
        raise ModelError(f"{name} is gated: accept its terms on huggingface.co and log in (hf auth login)") from err
    except (RepositoryNotFoundError, RevisionNotFoundError) as err:
        raise ModelError(f"the hub has no {name} (or it is private): check owner, name and revision") from err
    except (OSError, HfHubHTTPError, ValueError) as err:
        raise ModelError(_unreachable(name)) from err
    except Exception as err:
        if type(err).__module__.partition(".")[0] in {"httpx", "httpcore", "requests", "urllib3"}:
            raise ModelError(_unreachable(name)) from err
        raise


def _unreachable(name: str) -> str:
    return (
        f"cannot fetch {name}: the hub cannot be reached. At hand without it: {at_hand()}. Where there is a network, "
        f"run rszsl models pull {name}, or give --model the path of a folder with its files"
    )


def _from_archive(source: Source, name: str) -> Path:
    """Download a zip file once, and take the weights out of it."""
    folder = downloads() / name
    target = folder / Path(source.member).name
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / "archive.zip.part"
    _download(source.url, archive, name)
    temporary = target.with_suffix(target.suffix + ".part")
    try:
        with zipfile.ZipFile(archive) as opened:
            inner = next((n for n in opened.namelist() if n.endswith(source.member)), None)
            if inner is None:
                raise ModelError(f"{source.url} holds no {source.member}: its makers changed it; update the card")
            with opened.open(inner) as packed, temporary.open("wb") as sink:
                shutil.copyfileobj(packed, sink, CHUNK_BYTES)
    except zipfile.BadZipFile as err:
        raise ModelError(f"{source.url} gave no zip file: {err}; try again later") from err
    finally:
        archive.unlink(missing_ok=True)
    return temporary.replace(target)


def _download(url: str, target: Path, name: str) -> None:
    import requests

    try:
        with requests.get(url, stream=True, timeout=TIMEOUT_S) as answer:
            answer.raise_for_status()
            with target.open("wb") as sink:
                for chunk in answer.iter_content(CHUNK_BYTES):
                    sink.write(chunk)
    except requests.RequestException as err:
        target.unlink(missing_ok=True)
        raise ModelError(_unreachable(name)) from err
