"""Everything a user can choose about a map, checked once; the same names as on the command line."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rszsl.errors import OptionError

DEFAULT_MODEL = "dsva-base"
PATHS = ("aoi", "attributes", "examples", "cache")
PRECISIONS = ("auto", "fp32", "bf16", "int8")
VIEWS = (1, 2, 4, 8)
FORMAT_NAMES = ("gpkg", "geojson", "parquet", "flatgeobuf")


@dataclass(frozen=True, slots=True, kw_only=True)
class MapOptions:
    """Options of one map. All have defaults that suit an 8-bit orthophoto.

    Attributes:
        model: a bundled model, a model with a card, a model folder, `hf:owner/name`, or `open_clip:ARCH/TAG`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: one of `PRECISIONS`; `auto` leaves fp32 where labels were measured to agree and it is faster.
        views: of each tile, turned and mirrored, whose mean counts: one of `VIEWS`; so many times the work.
        batch_size: tiles that the model sees at once; on a CPU it may be fewer.
        bands: three bands (1-based) as red, green, blue, or one; None by colour interpretation.
        value_ranges: raw (low, high), one for all bands or one for each; None decides from the scene.
        crs: CRS of a scene that names none.
        gsd_m: metres a pixel; None measures it.
        overlap: fraction of a tile shared with its neighbour, 0 <= overlap < 1.
        min_valid: a tile with a smaller share of valid pixels is nodata, 0..1.
        min_confidence: a tile whose best class is less sure is `other`, 0..1; None takes the model's.
        attributes: CSV of attribute rows that override what names mean.
        refine: let the labelled tiles of a scene speak for each other.
        aoi: vector file; only tiles whose cell overlaps it are planned.
        examples: vector file of points and polygons whose class is known.
        class_field: the column of `examples` with the class; None where the file has only one column.
        examples_scene: the scene that the examples lie on, where it is another one than the scene to be mapped.
        attention: attributes of the model whose attention maps are written beside the output; None for none.
        cache: keeps what the model said of each tile; read where it is there and fits, else written.
        trust_pickle: read weights of the model that come as a pickle, too.
        format: one of `FORMAT_NAMES`.
        overwrite: replace an existing output.
    """

    model: str = DEFAULT_MODEL
    device: str = "auto"
    precision: str = "auto"
    views: int = 1
    batch_size: int = 32
    bands: tuple[int, ...] | None = None
    value_ranges: tuple[tuple[float, float], ...] | None = None
    crs: str | None = None
    gsd_m: float | None = None
    overlap: float = 0.0
    min_valid: float = 0.5
    min_confidence: float | None = None
    attributes: Path | None = None
    refine: bool = False
    aoi: Path | None = None
    examples: Path | None = None
    class_field: str | None = None
    examples_scene: str | None = None
    attention: tuple[str, ...] | None = None
    cache: Path | None = None
    trust_pickle: bool = False
    format: str = "gpkg"
    overwrite: bool = False

    def __post_init__(self) -> None:
        _check(self.batch_size >= 1, f"--batch-size {self.batch_size} must be at least 1")
        _check(self.bands is None or len(self.bands) > 0, "--bands is empty; name three bands, or one")
        _check(self.gsd_m is None or self.gsd_m > 0, f"--gsd {self.gsd_m} must be above 0 (metres a pixel)")
        _check(
            0 <= self.overlap < 1,
            f"--overlap {self.overlap} must be at least 0 and below 1 (fraction of a tile)",
        )
        _check(0 <= self.min_valid <= 1, f"--min-valid {self.min_valid} must be from 0 to 1")
        sure = self.min_confidence
        _check(sure is None or 0 <= sure <= 1, f"--min-confidence {sure} must be from 0 to 1")
        _check(self.precision in PRECISIONS, f'--precision "{self.precision}" is none of {", ".join(PRECISIONS)}')
        _check(self.views in VIEWS, f"--views {self.views} is none of {', '.join(map(str, VIEWS))}")
        _check(self.format in FORMAT_NAMES, f'--format "{self.format}" is none of {", ".join(FORMAT_NAMES)}')
        for low, high in self.value_ranges or ():
            _check(low < high, f"--range {low:g},{high:g} must rise from low to high")

        chosen = self.attention
        _check(not isinstance(chosen, str), f'attention="{chosen}" is one text; give a tuple of names')
        _check(chosen is None or len(chosen) > 0, "--attention is empty; name attributes, comma-separated")
        alone = [o for o, v in (("--class-field", self.class_field), ("--examples-scene", self.examples_scene)) if v]
        _check(not alone or self.examples is not None, f"{' and '.join(alone)} needs --examples FILE")

    def to_record(self) -> dict[str, Any]:
        """As JSON values, for the `runs` table."""
        paths = {name: str(path) if (path := getattr(self, name)) else None for name in PATHS}
        return asdict(self) | paths


def _check(fine: bool, message: str) -> None:
    if not fine:
        raise OptionError(message)
