#!/bin/sh
# Makes a component of the transform with Go's own compiler: `build.sh [OUT.wasm]`. Needs Go 1.24 or later, and
# cargo for the small tool that wraps what Go makes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
languages=$root/target/plugins/languages
. "$here/../wit.sh"
out=${1:-$languages/go.wasm}
mkdir -p "$languages/go"
(cd "$here" && GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags='-s -w' \
    -o "$languages/go/core.wasm" .)
cargo run --quiet --manifest-path "$root/Cargo.toml" --package millrace-componentize -- \
    "$languages/go/core.wasm" "$wit" order-routing "$out"
