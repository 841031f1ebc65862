#!/usr/bin/env bash
# build.sh: builds Kubernetes (go/) once and prints the directory that holds etcd, kube-apiserver, kube-controller-manager,
# kube-scheduler, kubectl, kubelet and kube-proxy as the last line of its standard output. What it is doing goes to standard
# error.
# build.sh node: the same for what runs the containers of a node (node/): containerd with its shim and ctr, two CNI plugins,
# pause.
# build.sh --there [kubernetes|node]: builds nothing, and succeeds when that has been built.
#
# K8S=1.30 chooses an older version of Kubernetes: the folder go/1.30 has the files that differ from those in go/.
# The result is kept in the user's cache under a hash of what it is made from, so every checkout on a machine shares it, and
# versions lie side by side.
# KUBEBUILDER_ASSETS, when set, names a directory with such binaries: it is used as it is, and nothing is built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'testbed: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

only_look=
if [ "${1:-}" = --there ]; then only_look=yes; shift; exec >/dev/null; fi
part=${1:-kubernetes}
case $part in
  kubernetes)
    source=$here/go what="Kubernetes and etcd" takes="5 to 10 minutes" packages=2,800
    programs="etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kubelet kube-proxy" ;;
  node)
    source=$here/node what="containerd and CNI plugins" takes="1 to 2 minutes" packages=1,200
    programs="containerd containerd-shim-runc-v2 ctr host-local ptp pause" ;;
  *) die "usage: build.sh [--there] [kubernetes|node]" ;;
esac

# The module and the version of it that a go.mod ($2) asks for.
version_of() { awk -v module="$1" '$1 == module { print $2; exit }' "$2"; }

# The folder of the version that K8S names; empty for the newest, which is go/ itself.
older=
if [ -n "${K8S:-}" ]; then
  newest=$(version_of k8s.io/kubernetes "$here/go/go.mod") newest=${newest#v} newest=${newest%.*}
  if ! [[ $K8S =~ ^1\.[0-9]+$ ]] || ! [ "$K8S" = "$newest" -o -f "$here/go/$K8S/go.mod" ]; then
    versions=$(cd "$here/go" && echo 1.*)
    die "K8S=$K8S is no version that the test bed builds: choose ${versions// /, } or $newest, which is the newest and the default"
  fi
  [ -z "${KUBEBUILDER_ASSETS:-}" ] || die "K8S=$K8S asks for a version and KUBEBUILDER_ASSETS names programs: unset one of them"
  if [ "$part" = kubernetes ] && [ "$K8S" != "$newest" ]; then older=$here/go/$K8S what="Kubernetes $K8S and etcd"; fi
fi

# What a node needs of the machine beside what is built here.
if [ "$part" = node ] && [ -z "$only_look" ]; then
  PATH=$PATH:/usr/sbin:/sbin
  lacking=
  for program in runc:runc nft:nftables busybox:busybox-static ip:iproute2 unshare:util-linux mount:mount hostname:hostname; do
    command -v "${program%:*}" >/dev/null || lacking="$lacking ${program#*:}"
  done
  if [ -n "$lacking" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing$lacking"
    # shellcheck disable=SC2086
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $lacking; } >&2 && lacking=
  fi
  [ -z "$lacking" ] || die "a node needs the packages$lacking: install them with: apt-get install$lacking"
fi

if [ "$part" = kubernetes ] && [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
  for program in etcd kube-apiserver kubectl; do
    [ -x "$KUBEBUILDER_ASSETS/$program" ] || die "KUBEBUILDER_ASSETS=$KUBEBUILDER_ASSETS has no $program: unset it to have the control plane built, or name a directory with etcd, kube-apiserver and kubectl"
  done
  (cd "$KUBEBUILDER_ASSETS" && pwd)
  exit
fi

instead="set KUBEBUILDER_ASSETS to a directory with etcd, kube-apiserver and kubectl"
# shellcheck source=go.sh
. "$here/go.sh"

# What it is made from. A file of an older version stands for the one of the same name in go/.
sources() {
  cd "$source"
  find . -type f -not -path './1.*' | while read -r file; do
    if [ -n "$older" ] && [ -e "$older/$file" ]; then file="./${older##*/}/${file#./}"; fi
    printf '%s\n' "$file"
  done | LC_ALL=C sort
}
digest=$(sources | (cd "$source" && xargs sha256sum) | sha256sum)
bin=$cache/${digest:0:16}
# Complete once it exists: it comes by a rename.
if [ -d "$bin" ]; then echo "$bin"; exit; fi
[ -z "$only_look" ] || exit 1

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

if [ -n "$older" ]; then
  mkdir "$work/source"
  sources | (cd "$source" && xargs cp -t "$work/source")
  source=$work/source
fi

find_go "$(version_of go "$source/go.mod")"

started=$SECONDS
say "building $what from source with $(cd / && GOTOOLCHAIN=local "$go" env GOVERSION): $takes on two cores, once"
mkdir "$work/bin"
# Without its version the API server takes itself for v0.0.0-master and feature gates go astray.
build_kubernetes() {
  local kubernetes version=k8s.io/component-base/version major minor
  kubernetes=$(version_of k8s.io/kubernetes "$source/go.mod")
  IFS=. read -r major minor _ <<<"${kubernetes#v}"
  exec "$go" build -v -buildvcs=false -trimpath -mod=readonly -o "$work/bin/testbed" \
    -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=$major -X $version.gitMinor=$minor -X $version.gitTreeState=clean"
}
# The tags leave out what needs C libraries; "tool" is every program that go.mod names as one.
build_node() {
  exec "$go" build -v -buildvcs=false -trimpath -mod=readonly -o "$work/bin/" \
    -tags "osusergo netgo static_build no_btrfs no_zfs no_devmapper no_tracing urfave_cli_no_docs" \
    -ldflags "-s -w -X github.com/containerd/containerd/v2/version.Version=$(version_of github.com/containerd/containerd/v2 "$source/go.mod")" \
    tool ./pause
}
# -v names each package on its way, which is what the progress is counted from.
(
  cd "$source"
  export GOTOOLCHAIN=local CGO_ENABLED=0 GOWORK=off
  "build_$part"
) >"$work/log" 2>&1 9>&- &
build=$!
ticks=0
while kill -0 "$build" 2>/dev/null; do
  sleep 0.5
  ticks=$((ticks + 1))
  [ $((ticks % 10)) -eq 0 ] || continue
  downloads=$(grep -c '^go: downloading' "$work/log" || true)
  lines=$(wc -l <"$work/log")
  say "$((SECONDS - started)) s: $downloads modules fetched, $((lines - downloads)) of up to $packages packages compiled (then it is linked)"
done
if ! wait "$build"; then
  build=
  grep -v '^go: downloading' "$work/log" | tail -n 20 >&2
  die "$what did not build (above: the last lines of the compiler)"
fi
build=
for program in $programs; do
  [ -x "$work/bin/$program" ] || ln -s testbed "$work/bin/$program"
done
mv -T "$work/bin" "$bin"
say "built in $((SECONDS - started)) s"
echo "$bin"
