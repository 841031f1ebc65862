#!/usr/bin/env bash
# Builds helm (go/) once and prints the directory that holds it as the last line of its standard output. What it is doing
# goes to standard error. Kept in the user's cache under a hash of what it is made from, beside the test bed's programs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
testbed=$here/../../loadtest/testbed

say() { printf 'deploy tools: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Where the test bed keeps its own (loadtest/testbed/build.sh).
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/configmapsync-testbed
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || { cache=$here/../../.cache/testbed; mkdir -p "$cache"; }
cache=$(cd "$cache" && pwd)

digest=$(cat "$here/go/go.mod" "$here/go/go.sum" "$here/build.sh" | sha256sum)
bin=$cache/helm-${digest:0:16}
# Complete once it exists: it comes by a rename.
if [ -d "$bin" ]; then echo "$bin"; exit; fi

wanted=$(awk '$1 == "go" { print $2 }' "$here/go/go.mod")
go_fits() {
  local have
  have=$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
  have=${have#go}; have=${have%% *}
  [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ]
}
# The Go of the machine, or the one that the test bed's build fetches where there is none.
find_go() {
  local candidate
  for candidate in "$(command -v go || true)" "$cache"/go-*/go/bin/go; do
    if [ -x "$candidate" ] && go_fits "$candidate"; then go=$candidate; return; fi
  done
  return 1
}
if ! find_go; then
  "$testbed/build.sh" >/dev/null
  find_go || die "no Go $wanted or newer is here: install it, or set HELM to the path of a helm of version 3"
fi

exec 9>"$cache/helm.lock"
flock 9
if [ -d "$bin" ]; then echo "$bin"; exit; fi

started=$SECONDS
work=$(mktemp -d "$cache/helm-building.XXXXXX")
trap 'rm -rf "$work"' EXIT
helm=$(awk '$1 == "helm.sh/helm/v3" { print $2; exit }' "$here/go/go.mod")
# The Kubernetes that helm takes for granted where it has no cluster to ask: that of the client it is built with.
minor=$(awk '$1 == "k8s.io/client-go" { split($2, part, "."); print part[2]; exit }' "$here/go/go.mod")
say "building helm $helm from source: one to three minutes on two cores, once"
mkdir "$work/bin"
package=helm.sh/helm/v3
(
  cd "$here/go"
  export GOTOOLCHAIN=local CGO_ENABLED=0 GOWORK=off
  "$go" build -buildvcs=false -trimpath -mod=readonly -o "$work/bin/helm" \
    -ldflags "-s -w -X $package/internal/version.version=$helm
      -X $package/pkg/chartutil.k8sVersionMajor=1 -X $package/pkg/chartutil.k8sVersionMinor=$minor
      -X $package/pkg/lint/rules.k8sVersionMajor=1 -X $package/pkg/lint/rules.k8sVersionMinor=$minor" \
    "$package/cmd/helm"
) >&2 || die "helm did not build: what the compiler says is above"
mv -T "$work/bin" "$bin"
say "built in $((SECONDS - started)) s"
echo "$bin"
