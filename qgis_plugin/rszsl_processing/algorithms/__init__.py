"""The algorithms, one a file. A new one is a file here and a line in `ALGORITHMS`."""

from rszsl_processing.algorithms.batch import BatchAlgorithm
from rszsl_processing.algorithms.doctor import DoctorAlgorithm
from rszsl_processing.algorithms.install import InstallAlgorithm
from rszsl_processing.algorithms.map import MapAlgorithm
from rszsl_processing.algorithms.model import ModelAlgorithm
from rszsl_processing.algorithms.relabel import RelabelAlgorithm
from rszsl_processing.algorithms.similar import SimilarAlgorithm

ALGORITHMS = (
    MapAlgorithm, RelabelAlgorithm, SimilarAlgorithm, BatchAlgorithm, ModelAlgorithm, DoctorAlgorithm, InstallAlgorithm,
)  # fmt: skip
