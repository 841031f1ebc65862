#!/usr/bin/env bash
# create-syncs.sh COUNT [PREFIX]: prints COUNT namespaces, a ConfigMapSync for each, and their one source.
#   loadtest/scripts/create-syncs.sh 1000 | kubectl apply -f -
#   loadtest/scripts/create-syncs.sh 1000 | kubectl delete --wait=false -f -
set -euo pipefail
count=${1:?usage: create-syncs.sh COUNT [PREFIX]} prefix=${2:-load}
cat <<YAML
apiVersion: v1
kind: Namespace
metadata: {name: $prefix-source}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: $prefix-source}
data: {greeting: hello}
YAML
for ((n = 1; n <= count; n++)); do
  cat <<YAML
---
apiVersion: v1
kind: Namespace
metadata: {name: $prefix-$n}
---
apiVersion: apps.kapendra.com/v1
kind: ConfigMapSync
metadata: {name: settings-$n, namespace: $prefix-source}
spec: {sourceNamespace: $prefix-source, destinationNamespace: $prefix-$n, configMapName: settings}
YAML
done
