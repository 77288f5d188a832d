"""Methods by the names that recipes use."""

from rszsl.errors import TrainingError
from rszsl.zsl.problem import Method


def build_method(name: str) -> Method:
    """Build a method by name; `shuffled NAME` is its control.

    Raises:
        TrainingError: for an unknown name.
    """
    if name.startswith("shuffled "):
        from rszsl.zsl.baselines.controls import Shuffled

        return Shuffled(build_method(name.removeprefix("shuffled ")))
    known = _methods()
    if name not in known:
        raise TrainingError(f"no method {name!r}; there are {', '.join(known)}, and `shuffled NAME` of each")
    return known[name]


def _methods() -> dict[str, Method]:
    from rszsl.zsl.baselines.ale import Bilinear
    from rszsl.zsl.baselines.controls import Chance
    from rszsl.zsl.baselines.eszsl import Eszsl
    from rszsl.zsl.baselines.fusion import Fusion
    from rszsl.zsl.baselines.nearest import NearestRow
    from rszsl.zsl.baselines.prompt import Prompt
    from rszsl.zsl.baselines.prototypes import Prototypes
    from rszsl.zsl.baselines.sae import Sae
    from rszsl.zsl.dsva.frozen import frozen_methods
    from rszsl.zsl.mcfa.losses import CONTRASTIVE
    from rszsl.zsl.mcfa.method import McfaMethod

    methods: list[Method] = [
        Chance(),
        Prompt(),
        NearestRow(),
        Fusion(),
        Eszsl(),
        Sae(),
        Bilinear("ale"),
        Bilinear("devise"),
        Prototypes(),
        *frozen_methods(),
        McfaMethod("paper"),
        McfaMethod("rszsl"),
        McfaMethod("rszsl", without=CONTRASTIVE),
    ]
    return {method.name: method for method in methods}


def parts_of(name: str) -> dict[str, str]:
    """Give the rows of a table that one run of a method makes: name -> pattern of the settings in it."""
    if name == "dsva rszsl":
        return {
            name: "global$",
            f"{name} + names": "global( .* names)?$",
            f"{name}, prototypes": "local$",
        }
    return {name: "global$"} if name.startswith(("dsva rszsl", "shuffled dsva rszsl")) else {name: ""}
