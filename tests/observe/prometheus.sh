#!/usr/bin/env bash
# Prints the directory of prometheus and promtool: those on the PATH, or else Debian's package, unpacked (not installed:
# its service would start) into the directory given. Fails with one line that says what to do.
set -euo pipefail
if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
  dirname "$(command -v prometheus)"
  exit
fi
into=$1
if [ ! -x "$into/usr/bin/promtool" ]; then
  fail() { echo "Prometheus is missing: install it (Debian: apt-get install prometheus) or put prometheus and promtool on the PATH" >&2; exit 1; }
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail
  mkdir -p "$into"
  work=$(mktemp -d "$into.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  # What apt says is of no interest unless nothing comes of it.
  (cd "$work" && { apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; }) >&2 2>/dev/null || fail
  dpkg-deb -x "$work"/prometheus_*.deb "$work/x"
  rm -rf "$into" && mv "$work/x" "$into"
fi
echo "$into/usr/bin"
