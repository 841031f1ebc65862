#!/usr/bin/env bash
# programs.sh [OPTIONS]: builds all programs of this checkout, with these options of Cargo, and prints the directory that they
# are in. make runs it, with the settings that the tests have too.
#
# Cargo builds a crate once for each set of features, and the set depends on what is built together. So it is always the whole
# workspace, and a test among it, since tests want some features of their own: what is built here serves the tests too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo build --locked --workspace --bins --test control_plane "$@" >&2
built=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:-}/debug
(cd "$built" && pwd)
