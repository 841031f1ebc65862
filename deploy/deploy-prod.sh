#!/usr/bin/env bash
# Builds the image, pushes it and deploys it: deploy-prod.sh [REGISTRY] [TAG] [options of install.sh…]
#
#   deploy/deploy-prod.sh docker.io/your-username v1.0.0
#
# The image is REGISTRY/configmapsync:TAG. SKIP_BUILD=1 deploys one that is pushed already. CONTAINER_TOOL as in the Makefile.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in -h | --help) sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;; esac
IMAGE_REGISTRY=docker.io/your-username IMAGE_TAG=v1.0.0
case ${1:-} in '' | -*) ;; *) IMAGE_REGISTRY=$1; shift ;; esac
case ${1:-} in '' | -*) ;; *) IMAGE_TAG=$1; shift ;; esac
IMG=$IMAGE_REGISTRY/configmapsync:$IMAGE_TAG
KUBECTL=${KUBECTL:-kubectl}

fail() { echo "error: $*" >&2; exit 1; }

echo "Deploying the ConfigMapSync operator, image $IMG"
# Where it cannot be deployed nothing is built: that takes minutes.
deploy/install.sh --dry-run --image "$IMG" "$@" >/dev/null || exit $?
if [ -z "${SKIP_BUILD:-}" ]; then
  make docker-build IMG="$IMG" || fail "the image $IMG could not be built: the lines above tell why"
  make docker-push IMG="$IMG" || fail "the image $IMG could not be pushed: log in to its registry (${CONTAINER_TOOL:-docker} login ${IMG%%/*}) and run this again"
fi
deploy/install.sh --image "$IMG" --yes "$@"

echo "Operator:"
"$KUBECTL" get pods --all-namespaces -l control-plane=controller-manager
echo "Logs: $KUBECTL logs -f deployment/configmapsync-controller-manager -n configmapsync-system"
echo "A test: $KUBECTL apply -f deploy/samples/"
