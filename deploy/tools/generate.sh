#!/usr/bin/env bash
# Writes the generated files of deploy/ below the directory OUT (deploy itself for `make manifests`, another one to compare
# with for `make verify`): what the chart has from elsewhere, its version and its README's table, and the overlay `monitoring`.
#   generate.sh OUT VERSION
set -euo pipefail
shopt -s nullglob
out=$(mkdir -p "$1" && cd "$1" && pwd) version=$2
cd "$(dirname "${BASH_SOURCE[0]}")/.."

rm -rf "$out/chart/files"
mkdir -p "$out/chart/files/crds" "$out/overlays/monitoring"
cp ../crds/*.yaml "$out/chart/files/crds/"
if [ -e monitoring/rules.yaml ]; then cp monitoring/rules.yaml "$out/chart/files/"; fi
dashboards=(monitoring/dashboards/*.json)
if [ ${#dashboards[@]} -gt 0 ]; then
  mkdir "$out/chart/files/dashboards"
  cp "${dashboards[@]}" "$out/chart/files/dashboards/"
fi

# Written aside first: OUT may be where they are read from.
edit() { # FILE COMMAND…
  local file=$1; shift
  "$@" "chart/$file" >"$out/chart/$file.new"
  mv "$out/chart/$file.new" "$out/chart/$file"
}
edit Chart.yaml sed "s/^version: .*/version: $version/; s/^appVersion: .*/appVersion: v$version/"
table=$(awk -f tools/values_table.awk chart/values.yaml)
# shellcheck disable=SC2016
edit README.md env TABLE="$table" awk '
  /^<!-- values: end/ { inside = 0 }
  !inside { print }
  /^<!-- values: begin/ { print ENVIRON["TABLE"]; inside = 1 }'

{
  echo "# Generated from deploy/monitoring by \`make manifests\`. To change it, change that."
  if [ -e monitoring/rules.yaml ]; then
    cat <<'YAML'
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: configmapsync-controller-manager
  namespace: configmapsync-system
spec:
YAML
    sed '/^---$/d; s/^\(.\)/  \1/' monitoring/rules.yaml
  fi
  for file in "${dashboards[@]}"; do
    name=$(basename "$file" .json)
    cat <<YAML
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: configmapsync-dashboard-${name//_/-}
  namespace: configmapsync-system
  labels:
    grafana_dashboard: "1"
data:
  $name.json: |
$(sed 's/^\(.\)/    \1/' "$file")
YAML
  done
} >"$out/overlays/monitoring/generated.yaml"
