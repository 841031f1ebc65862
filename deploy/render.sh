#!/usr/bin/env bash
# Prints deploy/install.yaml: all manifests in one file, for `kubectl apply -f`. Argument: the kubectl to render with.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
echo "# Generated from deploy/ and crds/ by \`make manifests\`. To change it, change those."
"$1" kustomize deploy
