#!/usr/bin/env bash
# What `make demo` runs: says what has to be built first and about how long it takes, builds it, and shows the operator's
# main job.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'demo: %s\n' "$*" >&2; }
built=${CARGO_TARGET_DIR:-target}/${CARGO_BUILD_TARGET:-}/debug/demo

say "this is built first, unless it is there already (times are those of two cores):"
plan() { # what, how long, command that succeeds when it is there...
  local what=$1 long=$2; shift 2
  if "$@"; then long="there already"; fi
  printf '  %-58s %s\n' "$what" "$long" >&2
}
plan "Kubernetes and etcd, from source; kept for all checkouts" "6 to 13 minutes" loadtest/testbed/build.sh --there kubernetes
if [ "$(id -u)" = 0 ] && [ -z "${PROCESSES:-}${KUBECONFIG:-}" ]; then
  plan "containerd and CNI plugins, for a node; kept likewise" "1 to 2 minutes" loadtest/testbed/build.sh --there node
fi
plan "the operator and the demo; later only what has changed" "2 to 4 minutes" test -x "$built"
say "the demo itself takes one to four minutes"

loadtest/testbed/build.sh >/dev/null
say "building the operator and the demo"
.ci/programs.sh --no-default-features >/dev/null
exec "$built" "$@"
