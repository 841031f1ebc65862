#!/usr/bin/env bash
# reproduce.sh [--profile release]: builds the image of the last commit twice, from scratch, in two directories and with two
# homes of Cargo, and compares the bytes. With the profile that ships, dist, this takes twice as long as `make image`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d "${TMPDIR:-/tmp}/reproduce.XXXXXX")
trap 'rm -rf "$work"' EXIT
image=$(.ci/programs.sh)/image

# The same crates under another name: nothing is fetched for it.
home=${CARGO_HOME:-$HOME/.cargo}
mkdir "$work/home"
for part in registry git config.toml config; do
  [ ! -e "$home/$part" ] || ln -s "$home/$part" "$work/home/$part"
done

build() { # DIRECTORY CARGO_HOME OPTIONS…
  local at=$work/$1 cargo_home=$2; shift 2
  mkdir -p "$at/checkout"
  git archive HEAD | tar -x -C "$at/checkout"
  CARGO_HOME=$cargo_home CARGO_TARGET_DIR=$at/built CARGO_INCREMENTAL=0 \
    "$image" --source "$at/checkout" --output "$at/image.tar" "$@" >/dev/null
}
build one "$home" "$@"
build another/place "$work/home" "$@"

sha256sum <"$work/one/image.tar" | sed 's/ .*/  the first image/'
sha256sum <"$work/another/place/image.tar" | sed 's/ .*/  the second image/'
cmp "$work/one/image.tar" "$work/another/place/image.tar" || { echo "two builds of $(git rev-parse --short HEAD) differ" >&2; exit 1; }
echo "two builds of $(git rev-parse --short HEAD) are the same to the byte"
