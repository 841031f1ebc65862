#!/usr/bin/env bash
# Builds helm (go/) once and prints the directory that holds it as the last line of its standard output. What it is doing
# goes to standard error. Kept in the user's cache under a hash of what it is made from, beside the test bed's programs.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { printf 'deploy tools: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

instead="set HELM to the path of a helm of version 3"
# shellcheck source=../../loadtest/testbed/go.sh
. "$tools/../../loadtest/testbed/go.sh"

digest=$(cat "$tools/go/go.mod" "$tools/go/go.sum" "$tools/build.sh" | sha256sum)
bin=$cache/helm-${digest:0:16}
# Complete once it exists: it comes by a rename.
if [ -d "$bin" ]; then echo "$bin"; exit; fi

find_go "$(awk '$1 == "go" { print $2 }' "$tools/go/go.mod")"

exec 9>"$cache/helm.lock"
flock 9
if [ -d "$bin" ]; then echo "$bin"; exit; fi

started=$SECONDS
work=$(mktemp -d "$cache/helm-building.XXXXXX")
trap 'rm -rf "$work"' EXIT
helm=$(awk '$1 == "helm.sh/helm/v3" { print $2; exit }' "$tools/go/go.mod")
# The Kubernetes that helm takes for granted where it has no cluster to ask: that of the client it is built with.
minor=$(awk '$1 == "k8s.io/client-go" { split($2, part, "."); print part[2]; exit }' "$tools/go/go.mod")
say "building helm $helm from source: one to three minutes on two cores, once"
mkdir "$work/bin"
package=helm.sh/helm/v3
(
  cd "$tools/go"
  export GOTOOLCHAIN=local CGO_ENABLED=0 GOWORK=off
  "$go" build -buildvcs=false -trimpath -mod=readonly -o "$work/bin/helm" \
    -ldflags "-s -w -X $package/internal/version.version=$helm
      -X $package/pkg/chartutil.k8sVersionMajor=1 -X $package/pkg/chartutil.k8sVersionMinor=$minor
      -X $package/pkg/lint/rules.k8sVersionMajor=1 -X $package/pkg/lint/rules.k8sVersionMinor=$minor" \
    "$package/cmd/helm"
) >&2 || die "helm did not build: what the compiler says is above"
mv -T "$work/bin" "$bin"
say "built in $((SECONDS - started)) s"
echo "$bin"
