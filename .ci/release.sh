#!/usr/bin/env bash
# release.sh [--output DIRECTORY] [--profile NAME] [--image FILE] [--trial]: puts together what a release is, in
# target/release-v<version>. docs/releasing.md is the checklist that it belongs to.
#
# The same commit makes the same bytes. --image takes an archive that is there already, and --trial takes a checkout with
# changes that are not committed; neither is a release.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'release: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=configmapsync-operator output=target/release-v$version profile=dist image='' trial=''
while [ $# -gt 0 ]; do
  case $1 in
    --output) output=${2:?$1 needs a directory}; shift ;;
    --profile) profile=${2:?$1 needs a name}; shift ;;
    --image) image=${2:?$1 needs a file}; shift ;;
    --trial) trial=yes ;;
    *) die "unknown option $1: see the head of .ci/release.sh" ;;
  esac
  shift
done

# What the CHANGELOG says of a version, without its heading.
notes() { awk -v heading="## [$1]" 'index($0, heading) == 1 { on = 1; next } /^## / { on = 0 } on' CHANGELOG.md; }

[ -n "$trial" ] || [ -z "$(git status --porcelain)" ] ||
  die "the checkout has changes that are not committed: commit them, or try it with --trial"
[ -n "$(notes "$version")" ] || die "CHANGELOG.md has nothing under '## [$version]': write there what this release brings"
[ -n "$trial" ] || [ -z "$(notes Unreleased | tr -d '[:space:]')" ] ||
  die "CHANGELOG.md has entries under '## [Unreleased]': move them to '## [$version]'"

rm -rf "$output"
mkdir -p "$output"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "1 of 4: the image, for amd64 and arm64"
if [ -n "$image" ]; then
  cp "$image" "$output/$name-v$version-image.tar"
else
  "$(.ci/programs.sh)/image" --arch amd64,arm64 --profile "$profile" \
    --output "$output/$name-v$version-image.tar" >/dev/null
fi

say "2 of 4: the chart"
helm=${HELM:-$(deploy/tools/build.sh)/helm}
"$helm" package deploy/chart --destination "$work" >/dev/null
# Helm's archive has the time of its making in it.
tar -xzmf "$work/$name-$version.tgz" -C "$work"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$work" -c "$name" |
  gzip -n -9 >"$output/$name-chart-$version.tgz"

say "3 of 4: manifests, script, SBOM and notes"
cp deploy/install.yaml deploy/install.sh "$output/"
awk 'FNR == 1 { print "---" } 1' crds/*.yaml >"$output/crds.yaml"
cp deploy/sbom.cdx.json "$output/$name-v$version.sbom.cdx.json"
cp deploy/argocd/argocd-cm.yaml "$output/argocd-health-rules.yaml"
notes "$version" | sed '/./,$!d' >"$output/NOTES.md"

say "4 of 4: checksums"
(cd "$output" && LC_ALL=C sha256sum -- * >"$work/SHA256SUMS")
mv "$work/SHA256SUMS" "$output/"
chmod 644 "$output"/* && chmod 755 "$output/install.sh"
say "version $version is in $output; next: docs/releasing.md"
ls -l "$output" >&2
echo "$output"
