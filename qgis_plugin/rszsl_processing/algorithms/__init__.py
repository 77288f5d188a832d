"""The algorithms, one a file. A new one is a file here and a line in `ALGORITHMS`."""

from rszsl_processing.algorithms.batch import BatchAlgorithm
from rszsl_processing.algorithms.doctor import DoctorAlgorithm
from rszsl_processing.algorithms.install import InstallAlgorithm
from rszsl_processing.algorithms.map import MapAlgorithm
from rszsl_processing.algorithms.model import ModelAlgorithm

ALGORITHMS = (MapAlgorithm, BatchAlgorithm, ModelAlgorithm, DoctorAlgorithm, InstallAlgorithm)
