"""Methods by the names that recipes use."""

from dataclasses import replace

from rszsl.errors import TrainingError
from rszsl.zsl.problem import Method

MCFA_EPISODES = 70
"""An epoch of MCFA, on every data set: as many as the training images of UCM fill. Published: images / 25, which is
four times as many on AID; and 50 epochs, where the benchmark has time for 24."""


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
    from rszsl.zsl.mcfa.method import OURS, PAPER, McfaMethod

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
        McfaMethod("paper", recipe=replace(PAPER, iterations=MCFA_EPISODES, epochs=24, every=12)),
        *(
            McfaMethod("rszsl", without=terms, recipe=replace(OURS, iterations=MCFA_EPISODES, every=10))
            for terms in ((), CONTRASTIVE, *((term,) for term in CONTRASTIVE))
        ),
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
