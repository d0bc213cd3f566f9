#!/bin/sh
# Builds every plugin for the target that its Cargo.toml names, into target/plugins/<target>/release.
set -eu
cd "$(dirname "$0")"
for target in wasm32-unknown-unknown wasm32-wasip2; do
    packages=$(grep -l "^target = \"$target\"" */Cargo.toml ../tests/plugins/guests/*/Cargo.toml |
        xargs sed -n 's/^name = "\(.*\)"/--package \1/p')
    # shellcheck disable=SC2086
    cargo build --release --target "$target" $packages
done
