#!/usr/bin/env bash
# Make the README's pictures: the demo's own, and its GeoPackage in the real QGIS. Needs rszsl on PATH and QGIS.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

rszsl demo --out "$work"
cp "$work/demo_scene.png" "$here/demo.png"

export QT_QPA_PLATFORM=offscreen XDG_RUNTIME_DIR="$work" HOME="$work"
chmod 700 "$work"
/usr/bin/python3 "$here/render_qgis.py" "$work/demo_scene.tif" "$work/demo_scene.rszsl.gpkg" "$here/qgis.png" regions

# 256 colours are enough for a README, at a third of the size.
"$(dirname "$(command -v rszsl)")/python" - "$here/demo.png" "$here/qgis.png" <<'PYTHON'
import sys

from PIL import Image

for name in sys.argv[1:]:
    Image.open(name).convert("RGB").quantize(256).save(name, optimize=True)
PYTHON
