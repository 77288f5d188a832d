"""What the runner keeps of a submitted unit, and of a scene between its opening and its writing."""

from dataclasses import dataclass, field

from rszsl.batch.manifest import SceneRow
from rszsl.batch.work import SceneFacts, Unit
from rszsl.pipeline.labelling import Clock


@dataclass(slots=True)
class Flight:
    """A submitted unit: when its worker began, which worker, how many began, how many tiles were told of."""

    unit: Unit
    started_s: float | None = None
    worker: str = ""
    starts: int = 0
    told: int = 0


@dataclass(slots=True)
class SceneInHand:
    """A scene between its opening and its writing."""

    row: SceneRow
    facts: SceneFacts
    open_strips: set[int]
    clock: Clock = field(default_factory=Clock)
    errors: dict[int, str] = field(default_factory=dict)
