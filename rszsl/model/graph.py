"""A network in ONNX Runtime, which is faster than torch on CPUs (docs/decisions/0043): torch's weights, another engine.

`network.onnx` in a model folder is the graph alone, without weights: those of `model.safetensors` are put into it when
it is loaded, so that a model has one copy of them, and one hash. Matrices that lie there in four bits a weight are
multiplied by as they lie (`MatMulNBits` of ONNX Runtime, in fp32): they take an eighth of the memory, and no time to
load.
"""

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rszsl.model.card import GRAPH_FILE, ModelCard
from rszsl.model.dsva import DsvaOutput
from rszsl.model.packing import CODES, STEPS
from rszsl.model.threads import cores_each

LOG = logging.getLogger(__name__)
Weights = NDArray[np.float32] | NDArray[np.uint8]
SCALES, ZEROS = ":scales", ":zeros"
"""What a graph calls the steps of a packed matrix, and the codes, in fractions, that stand for 0."""
INPUT = "pixels"
OUTPUTS = tuple(DsvaOutput.__dataclass_fields__)
"""Names of what goes in, and of what comes out."""
FEW_WARNINGS = 3
"""Errors only: ONNX Runtime warns of GPUs that it does not find."""


def prefers_graph(card: ModelCard, device: torch.device, precision: str) -> bool:
    """Whether ONNX Runtime shall run a model: in fp32 on a CPU, where model and machine have what it needs."""
    return device.type == "cpu" and precision == "fp32" and GRAPH_FILE in card.files and _can_run()


def _can_run() -> bool:
    try:
        import onnxruntime  # noqa: F401
    except ImportError as err:
        if err.name != "onnxruntime":
            LOG.warning("ONNX Runtime cannot be imported (%s): the model runs in torch; install onnxruntime anew", err)
        return False
    return True


def graph_weights(weights: Mapping[str, Tensor]) -> dict[str, Weights]:
    """Turn a network's weights as its graph has them: float32, by their names in the network.

    What a graph multiplies tokens by stands transposed in it: the matrices of the transformer, and the prototypes.
    A matrix of four bits a weight, as `pack_groups` gives it, stays in four bits: `name:codes`, uint8
    (R, C / GROUP, GROUP / 2), `name:scales` and `name:zeros`, float32 (R * C / GROUP,), for a weight
    `(code - zero) * scale`.
    """
    floats = {name: value.float() for name, value in weights.items() if value.is_floating_point()}
    steps = {name.removesuffix(STEPS): floats.pop(name) for name in weights if name.endswith(STEPS)}
    turned = {n for n, v in floats.items() if v.ndim == 2 and (".blocks." in n or n == "prototypes")}
    found = {name: (value.T if name in turned else value).contiguous().numpy() for name, value in floats.items()}
    for name, groups in steps.items():
        scale, low = groups.flatten(0, 1).unbind(1)
        # Weights that are all alike have no step: any will do.
        scale = torch.where(scale > 0, scale, torch.ones(()))
        found[name + CODES] = weights[name + CODES].view(*groups.shape[:2], -1).numpy()
        found |= {name + SCALES: scale.numpy(), name + ZEROS: (-low / scale).numpy()}
    return found


class GraphNetwork:
    """Stands where a `Dsva` does. It runs on as many threads as torch may use in the thread that calls it.

    Args:
        file: the graph.
        weights: by name, as `graph_weights` gives them.

    Raises:
        ValueError: where graph and weights do not fit each other.
    """

    def __init__(self, file: Path, weights: Mapping[str, Weights]) -> None:
        self._graph, self._weights = file.read_bytes(), weights
        self._sessions: dict[int, Any] = {}
        self._starting = threading.Lock()
        self._session(cores_each(torch.get_num_threads()))  # the one that a map runs

    def __call__(self, pixels: Tensor) -> DsvaOutput:
        """Encode normalised pixels (N, 3, P, P), float32; as `Dsva.forward`.

        Raises:
            RuntimeError: where ONNX Runtime fails, as torch does.
        """
        session = self._session(torch.get_num_threads())
        try:
            found = session.run(OUTPUTS, {INPUT: pixels.contiguous().numpy()})
        except Exception as err:  # its errors have no common type
            raise RuntimeError(str(err)) from err
        return DsvaOutput(**{name: torch.from_numpy(array) for name, array in zip(OUTPUTS, found, strict=True)})

    def _session(self, threads: int) -> Any:
        with self._starting:
            if threads not in self._sessions:
                self._sessions[threads] = self._start(threads)
            return self._sessions[threads]

    def _start(self, threads: int) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Its arena serves all threads of a session. A plan of memory for each shape would hold more, and gain nothing.
        options.enable_mem_pattern = False
        options.log_severity_level = FEW_WARNINGS
        # Threads that wait for work would take the cores from those that read tiles.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        held = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in self._weights.values()]
        options.add_external_initializers(list(self._weights), held)
        try:
            session = onnxruntime.InferenceSession(self._graph, options, providers=["CPUExecutionProvider"])
        except Exception as err:  # its errors have no common type
            raise ValueError(f"{GRAPH_FILE} does not fit the weights: {err}") from err
        missing = set(OUTPUTS) - {output.name for output in session.get_outputs()}
        if missing:
            raise ValueError(f"{GRAPH_FILE} has no {', '.join(sorted(missing))}")
        return session
