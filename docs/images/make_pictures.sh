#!/usr/bin/env bash
# Make the README's pictures: the demo's own, and its GeoPackage in the real QGIS. Needs rszsl on PATH and QGIS.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rszsl demo --out "$work"

export QT_QPA_PLATFORM=offscreen XDG_RUNTIME_DIR="$work" HOME="$work"
chmod 700 "$work"
/usr/bin/python3 "$here/render_qgis.py" "$work/demo_scene.tif" "$work/demo_scene.rszsl.gpkg" "$work/qgis.png" regions


"$(dirname "$(command -v rszsl)")/python" - "$work" "$here" <<'PYTHON'
import sys
from pathlib import Path

from PIL import Image

work, here = map(Path, sys.argv[1:])
for source, name in (("demo_scene.png", "demo.jpg"), ("qgis.png", "qgis.jpg")):
    Image.open(work / source).convert("RGB").save(here / name, quality=88, optimize=True)
PYTHON
