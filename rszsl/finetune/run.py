"""A fine-tuning from names: load the model, start the processes, train; and mixtures of two models."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

from rszsl.errors import OutputError, TrainingError
from rszsl.finetune.captions import Captioned
from rszsl.finetune.train import WEIGHTS, FinetuneOptions, copy_small_files, finetune
from rszsl.finetune.weights import interpolate, load_state, save_state
from rszsl.model.device import parse_device
from rszsl.model.hub.fetch import Fetched
from rszsl.model.hub.inventory import named_source
from rszsl.model.hub.load import fetch_checked, load_towers


@contextmanager
def started_processes(device: str) -> Iterator[str]:
    """Join the other processes where torchrun started several; gives the device of this one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    on_gpu = parse_device(device).type == "cuda"
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if on_gpu else device
    finally:
        dist.destroy_process_group()


def run(
    model: str,
    train: Sequence[Captioned],
    test: Sequence[Captioned],
    out: Path,
    options: FinetuneOptions,
    *,
    device: str,
    resume: bool,
    trust_pickle: bool,
    log: Callable[[str], Any],
) -> list[dict[str, Any]]:
    """Fine-tune a model by name; see `finetune`.

    Raises:
        TrainingError: where the model is none of transformers.
        ModelError: where it cannot be had.
    """
    fetched = _transformers_files(model, trust_pickle=trust_pickle)
    source, _ = named_source(model)
    torch_device = parse_device(device)
    towers = load_towers(source, fetched, torch_device, trust_pickle=trust_pickle)
    return finetune(towers, fetched.place, train, test, out, options, device=torch_device, resume=resume, log=log)


def interpolate_folders(base: str, tuned: Path, share: float, out: Path) -> Path:
    """Write a model between a base and its fine-tuned self.

    Returns:
        the folder.

    Raises:
        OutputError: where it exists.
        TrainingError: where the two do not fit, or are not of transformers.
        ModelError: where the base cannot be had.
    """
    if out.exists():
        raise OutputError(f"{out} exists; give another --out")
    place = _transformers_files(base, trust_pickle=False).place
    if not (tuned / WEIGHTS).is_file() or not (place / WEIGHTS).is_file():
        raise TrainingError(f"{tuned} and {base} must both have {WEIGHTS}")
    mixed = interpolate(load_state(place / WEIGHTS), load_state(tuned / WEIGHTS), share)
    out.mkdir(parents=True)
    copy_small_files(tuned, out)
    save_state(out / WEIGHTS, mixed)
    return out


def _transformers_files(model: str, *, trust_pickle: bool) -> Fetched:
    source, card = named_source(model)
    if source.library != "transformers":
        raise TrainingError(
            f"{model} is a model of {source.library}; fine-tuning takes those in the transformers layout"
        )
    return fetch_checked(source, model, card, trust_pickle=trust_pickle)[0]
