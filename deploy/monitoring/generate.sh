#!/usr/bin/env bash
# Writes docs/metrics.md and the dashboards' JSON from the code's table and the descriptions beside them; with --verify,
# fails if a file is out of date.
set -euo pipefail
cd "$(dirname "$0")/../.."

xtask=$(.ci/programs.sh)/xtask
generated() {
  "$xtask" "${@:2}" > "$1.new"
  if [ "$verify" = no ]; then mv "$1.new" "$1"; return; fi
  diff -u "$1" "$1.new" && rm "$1.new" || { rm -f "$1.new"; echo "$1 is out of date: run 'make manifests'"; exit 1; }
}

verify=no
[ "${1:-}" != --verify ] || verify=yes
generated docs/metrics.md metrics
for name in operations sharding; do
  generated "deploy/monitoring/dashboards/$name.json" dashboard "deploy/monitoring/dashboards/$name.yaml"
done
