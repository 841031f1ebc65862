#!/usr/bin/env bash
# arm64.sh [--profile dev]: puts together the image for arm64, and runs the program in it in an emulator: `--help`, and one
# sync on a real control plane.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }
die() { say "$*"; exit 1; }
profile=dev
[ "${1:-}" != --profile ] || profile=${2:?--profile needs a name}

emulator=$(command -v qemu-aarch64-static || command -v qemu-aarch64 || true)
if [ -z "$emulator" ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || die "qemu-aarch64 is missing: apt-get install qemu-user-static"
  say "installing qemu-user-static"
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends qemu-user-static; } >&2
  emulator=$(command -v qemu-aarch64-static)
fi

work=$(mktemp -d)
bed='' operator=''
end() {
  [ -z "$operator" ] || kill "$operator" 2>/dev/null || true
  [ -z "$bed" ] || { exec 7>&-; wait "$bed" 2>/dev/null || true; }
  rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

built=$(.ci/programs.sh)
say "the image for arm64, with the profile $profile"
"$built/image" --arch arm64 --profile "$profile" --output "$work/image.tar" >/dev/null
mkdir "$work/image" "$work/root"
tar -xf "$work/image.tar" -C "$work/image"
# The largest file in it is the one layer.
layer=$(find "$work/image/blobs" -type f -printf '%s %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2)
tar -xf "$layer" -C "$work/root"
program=$work/root/configmapsync-operator
grep -q '"architecture":"arm64"' "$work"/image/blobs/sha256/* || die "the image does not say that it is for arm64"

say "--help"
"$emulator" "$program" --help | grep -q -- --lease-duration || die "--help does not tell of the flags"
"$emulator" "$program" --version

say "a control plane"
mkfifo "$work/hold"
"$built/testbed" up --until-stdin-closes <"$work/hold" >"$work/kubeconfig" &
bed=$!
exec 7>"$work/hold"
for _ in $(seq 1200); do
  [ -s "$work/kubeconfig" ] && break
  kill -0 "$bed" 2>/dev/null || die "the control plane did not start"
  sleep 0.5
done
KUBECONFIG=$(head -n 1 "$work/kubeconfig")
export KUBECONFIG
kubectl=$(loadtest/testbed/build.sh)/kubectl
"$kubectl" apply -f deploy/install.yaml >/dev/null

say "one sync"
"$emulator" "$program" --metrics-bind-address=127.0.0.1:0 --health-probe-bind-address=127.0.0.1:0 >"$work/log" 2>&1 &
operator=$!
"$kubectl" apply -f deploy/samples/00-namespaces.yaml -f deploy/samples/01-quick-start.yaml >/dev/null
"$kubectl" wait --for=condition=Ready configmapsync/my-first-sync --timeout=300s ||
  { tail -n 20 "$work/log" >&2; die "the sync is not Ready: the end of the operator's log is above"; }
"$kubectl" get configmapsyncs
kill -TERM "$operator"
wait "$operator" || die "the operator did not end well on SIGTERM"
operator=''
say "the program for arm64 works"
