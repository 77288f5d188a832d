"""What of this machine's environment a worker needs to open the same scenes."""

import os
from collections.abc import Mapping

PREFIXES = ("GDAL_", "CPL_", "VSI", "AWS_", "AZURE_", "GS_", "GOOGLE_", "OSS_", "SWIFT_", "OS_", "PC_SDK_")
NAMES = ("PROJ_NETWORK", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
LOCAL = ("GDAL_DATA", "GDAL_DRIVER_PATH", "GDAL_NUM_THREADS", "GDAL_CACHEMAX", "GDAL_PYTHON_DRIVER_PATH")
"""Where this machine keeps its GDAL, and how much of it GDAL may use: another machine's are its own."""


def travelling(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Pick GDAL's settings and cloud credentials; default: from this process.

    A variable that names a file (`AWS_CONFIG_FILE`, `GOOGLE_APPLICATION_CREDENTIALS`) travels as that name, so the
    file must be where the worker runs.
    """
    source = os.environ if environment is None else environment
    return {k: v for k, v in source.items() if (k.startswith(PREFIXES) or k in NAMES) and k not in LOCAL}
