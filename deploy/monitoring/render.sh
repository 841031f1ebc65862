#!/usr/bin/env bash
# Draws docs/images/*.png anew: runs replicas, a load and some faults for five minutes under a real Prometheus.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=target/render
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet 'matplotlib>=3.8,<4'
OBSERVE_RENDER="$PWD/$venv/bin/python" cargo test --test observe -- --ignored --nocapture screens
