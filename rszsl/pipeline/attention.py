"""Attention maps of a run: of which attributes, by which model, into which file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rszsl.errors import ModelError, OptionError
from rszsl.model.bundle import Model
from rszsl.model.encoder import Encoded, MapsEncoder, Pixels
from rszsl.options import MapOptions
from rszsl.output.attention import AttentionWriter, Ground, attention_beside
from rszsl.pipeline.plan import ScenePlan


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """Keeps the attention maps of what it encodes.

    Attributes:
        model: makes them.
        columns: numbers of the attributes.
        writer: takes them.
    """

    model: MapsEncoder
    columns: tuple[int, ...]
    writer: AttentionWriter

    def encode(self, tiles: Pixels) -> Encoded:
        """Encode N tiles as the model does, with their maps."""
        return self.model.encode_with_maps(tiles, self.columns)

    def keep(self, tile_ids: NDArray[np.int64], encoded: Encoded) -> None:
        """Keep the maps of N encoded tiles."""
        if encoded.maps is None:
            raise RuntimeError("the model gave no maps")  # a defect of the model, to be seen as one
        self.writer.put(tile_ids, encoded.maps)


@contextmanager
def watching(plan: ScenePlan, model: Model, options: MapOptions, output: Path) -> Iterator[Watch | None]:
    """Make the `Watch` of a run whose result goes to `output`; None where no maps are asked for.

    Raises:
        OptionError, ModelError: as `attention_columns`.
        OutputError: where nothing can be written beside the output.
    """
    columns = attention_columns(model, options)
    if not columns or not isinstance(model, MapsEncoder):
        yield None
        return
    footing = plan.footing
    about = {"model": f"{model.card.name} {model.card.version}", "model_sha256": model.card.sha256}
    about |= {"scene": footing.scene, "values": "local attribute scores"}
    names = [model.attribute_names[column] for column in columns]
    ground = Ground(footing.grid, footing.transform, footing.crs)
    with attention_beside(output, ground, names, about) as writer:
        yield Watch(model, columns, writer)


def attention_columns(model: Model, options: MapOptions) -> tuple[int, ...]:
    """Numbers of the attributes that `options.attention` names, each once; () where it names none.

    Raises:
        OptionError: for a name that the model does not know, or where a cache would be read.
        ModelError: for a model without attention maps.
    """
    if options.attention is None:
        return ()
    if not model.attribute_names or not isinstance(model, MapsEncoder):
        raise ModelError(
            f"{model.card.name} has no attention maps of attributes; leave --attention out, or take a model that has "
            "them, as dsva-small"
        )
    if options.cache is not None and options.cache.exists():
        raise OptionError(
            f"--attention needs the tiles themselves, and the cache {options.cache} would be read instead; it holds "
            "no attention maps: name another --cache, or leave it out"
        )
    return tuple(dict.fromkeys(_column(name, model) for name in options.attention))


def refuse_attention(options: MapOptions) -> None:
    """Refuse maps where none can be made.

    Raises:
        OptionError: where `options` ask for some.
    """
    if options.attention is not None:
        raise OptionError("--attention is for rszsl map, which reads the tiles; a cache holds no attention maps")


def _column(name: str, model: Model) -> int:
    known = [attribute.casefold() for attribute in model.attribute_names]
    wanted = " ".join(name.split()).casefold()
    if wanted in known:
        return known.index(wanted)
    close = get_close_matches(wanted, known, n=3, cutoff=0.4) or known[:5]
    near = ", ".join(model.attribute_names[known.index(attribute)] for attribute in close)
    raise OptionError(
        f'--attention "{name}" is no attribute of {model.card.name}; near it are: {near} (rszsl attributes lists all)'
    )
