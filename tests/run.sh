#!/usr/bin/env bash
# Runs all tests. Those of install.sh and of the node wait more than they compute, so they run beside the others, and what
# they print comes when they end. At the end each failure is told once more.
# K8S=1.30 runs the integration tests alone, on Kubernetes of that version; loadtest/testbed/build.sh says which there are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

BESIDE=(install node)
# What K8S runs: what rests on the API server, on kubectl or on the kubelet.
INTEGRATION=(it install node deploy control_plane)

step() { printf '\n[%4d s] %s\n' "$SECONDS" "$*"; }
logs=$(mktemp -d)
beside=
end() {
  if [ -n "$beside" ]; then kill -- "-$beside" 2>/dev/null || true; fi
  rm -rf "$logs"
}
trap end EXIT
trap 'exit 130' INT TERM

args=() others=() skipped=()
for name in "${BESIDE[@]}"; do args+=(--test "$name"); done
for path in tests/*/main.rs tests/*.rs loadtest/tests/*.rs loadtest/testbed/tests/*.rs loadtest/testbed/tests/*/main.rs; do
  [ -e "$path" ] || continue
  name=${path%/main.rs} name=${name##*/} name=${name%.rs}
  [[ " ${BESIDE[*]} " == *" $name "* ]] && continue
  if [ -n "${K8S:-}" ] && [[ " ${INTEGRATION[*]} " != *" $name "* ]]; then skipped+=("$name"); continue; fi
  others+=(--test "$name")
done
if [ -n "${K8S:-}" ]; then
  bin=$(loadtest/testbed/build.sh)
  step "$("$bin/kube-apiserver" --version), by K8S=$K8S: ${INTEGRATION[*]}"
  echo "skipped: ${skipped[*]}, unit tests and examples. They test nothing that differs between versions: run them without K8S."
else
  others+=(--lib --bins --examples)
fi

step "building"
cargo test --workspace --locked --no-run

step "${BESIDE[*]}, beside the others"
set -m
RUST_TEST_THREADS=2 cargo test --workspace --locked --no-fail-fast "${args[@]}" >"$logs/beside" 2>&1 &
beside=$!
set +m

failed=
step "the others"
cargo test --workspace --locked --no-fail-fast "${others[@]}" 2>&1 | tee "$logs/others" || failed=1
if [ -z "${K8S:-}" ]; then
  step "examples in the documentation"
  cargo test --workspace --locked --no-fail-fast --doc 2>&1 | tee "$logs/doc" || failed=1
fi
step "waiting for ${BESIDE[*]}"
wait "$beside" || failed=1
beside=
step "what ${BESIDE[*]} printed"
cat "$logs/beside"
step "all have ended"
[ -z "$failed" ] && exit

# What a test that failed said last says why.
for log in "$logs"/others "$logs"/doc "$logs"/beside; do
  [ -e "$log" ] || continue
  awk '/^failures:$/ { told = !told } /^test result:/ { told = 0 } told && !/^ +([0-9]+: |at )/' "$log"
done | cut -c1-1000
grep -h '^test .* FAILED$' "$logs"/* | sort -u
exit 1
