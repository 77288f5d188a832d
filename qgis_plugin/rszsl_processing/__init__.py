"""The rszsl Processing provider for QGIS: it runs the `rszsl` command and never imports it.

`core` is plain Python and knows nothing of QGIS; `bridge` joins it to QGIS; `algorithms` holds one algorithm a file.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def classFactory(iface: Any) -> Any:
    """Make the plugin; `iface` is None where QGIS has no window."""
    from rszsl_processing.plugin import RszslPlugin

    return RszslPlugin(iface)
