#!/bin/sh
# Makes a component of the transform with componentize-js: `build.sh [OUT.wasm]`. Needs Node.js 20 or later and
# npm, which fetches the tools that package.json names.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
languages=$(cd "$here/../../.." && pwd)/target/plugins/languages
out=${1:-$languages/javascript.wasm}
mkdir -p "$languages/javascript"
. "$here/../wit.sh"
cp "$here/package.json" "$languages/javascript"
cd "$languages/javascript"
[ -d node_modules ] || npm install --no-audit --no-fund
PATH=$PWD/node_modules/.bin:$PATH
esbuild "$here/order-routing.js" --bundle --format=esm '--external:millrace:*' --outfile=bundle.js --log-level=warning
# Nothing of WASI is needed, so nothing of it must be granted.
componentize-js bundle.js --wit "$wit" --world-name order-routing \
    --disable stdio random clocks http fetch-event --out "$out"
