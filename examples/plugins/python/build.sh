#!/bin/sh
# Makes a component of the transform with componentize-py: `build.sh [OUT.wasm]`. Needs Python 3.10 or later with
# its `venv`; componentize-py comes from PyPI.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
languages=$(cd "$here/../../.." && pwd)/target/plugins/languages
out=${1:-$languages/python.wasm}
mkdir -p "$languages"
. "$here/../wit.sh"
if [ ! -x "$languages/python/bin/componentize-py" ]; then
    python3 -m venv "$languages/python"
    "$languages/python/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi
# Python's start imports much of WASI; the stubs leave nothing of it that must be granted.
"$languages/python/bin/componentize-py" --quiet --wit-path "$wit" --world order-routing \
    componentize --stub-wasi --python-path "$here" --output "$out" order_routing
