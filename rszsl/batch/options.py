"""What a user can choose about a batch, beside `MapOptions`; the same names as on the command line."""

from dataclasses import dataclass

from rszsl.errors import OptionError


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What a batch adds to `MapOptions`.

    Attributes:
        merge: one GeoPackage for the batch.
        strip_tiles: about how many tiles make a strip of a large scene; None: 256 on a CPU, 4096 on a GPU.
        retries: how often a scene or strip is tried again.
        timeout_s: a scene or strip that takes longer is tried elsewhere and its worker restarted; None: never.
    """

    merge: bool = False
    strip_tiles: int | None = None
    retries: int = 3
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.strip_tiles is not None and self.strip_tiles < 1:
            raise OptionError(f"--strip-tiles {self.strip_tiles} must be at least 1")
        if self.retries < 0:
            raise OptionError(f"--retries {self.retries} must be at least 0")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise OptionError(f"--timeout-s {self.timeout_s:g} must be above 0 (seconds)")
