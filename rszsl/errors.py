"""The errors that rszsl raises.

    RszslError
    ├── SceneError        a raster that cannot be mapped (missing, not a raster, no CRS, rotated, bad band)
    ├── ClassListError    an empty, duplicate or unreadable class list
    ├── AoiError          an area of interest that cannot be read
    │   └── AoiMissError  one that misses the scene
    ├── ExamplesError     examples that cannot be read, miss the scene, or name no class
    ├── ModelError        an unknown model, a damaged checkpoint, a device that is not there
    ├── OptionError       a value outside its range
    ├── CacheError        a cache that is missing, damaged, or belongs to something else
    ├── OutputError       an output that exists, or cannot be written
    ├── AnnotationError   pictures, a vocabulary or a table that classes cannot be described with
    ├── BatchError        a batch that is being run, belongs to something else, or whose list cannot be read
    ├── ClusterError      a cluster that cannot be reached, is lost, or has no worker that fits
    └── TrainingError     data or a recipe that cannot be trained on

The text is for users: what is wrong, with which file or value, and what to do. The command line prints it
as one line without a traceback. Every error is made from that one text, so it survives pickling.
"""


class RszslError(Exception):
    """Anything that a user can put right."""


class SceneError(RszslError):
    """The scene cannot be read as a georeferenced raster."""


class ClassListError(RszslError):
    """The list of class names is unusable."""


class AoiError(RszslError):
    """The area of interest is unusable."""


class AoiMissError(AoiError):
    """The area of interest is fine, but does not overlap this scene."""


class ExamplesError(RszslError):
    """The examples are unusable."""


class ModelError(RszslError):
    """The model cannot be found, trusted or run."""


class OptionError(RszslError):
    """An option has a value that makes no sense."""


class CacheError(RszslError):
    """The cache cannot be used."""


class OutputError(RszslError):
    """The result cannot be written."""


class BatchError(RszslError):
    """The batch, its list of scenes or its manifest is unusable."""


class ClusterError(RszslError):
    """The cluster cannot be used."""


class TrainingError(RszslError):
    """The model cannot be trained from this data or recipe."""


class AnnotationError(RszslError):
    """Classes cannot be described with these pictures, this vocabulary or this table."""
