# syntax=docker/dockerfile:1
# The operator alone in an empty image: one static program, no shell, no user but 65532.
# `make image` puts the same together without a container engine (loadtest/testbed/src/image/).

# To the patch: another compiler makes other bytes.
ARG RUST_VERSION=1.95.0
FROM docker.io/library/rust:${RUST_VERSION}-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
# --target even where it is the machine's own: without it the flags would go to build scripts and macros too.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=target-${TARGETARCH} \
    set -eu; \
    case "${TARGETARCH:-$(dpkg --print-architecture)}" in \
      amd64) target=x86_64-unknown-linux-gnu ;; \
      arm64) target=aarch64-unknown-linux-gnu ;; \
      *) echo "no build for the architecture ${TARGETARCH:-}" >&2; exit 1 ;; \
    esac; \
    # A panic's message has the path of a source file: with these names it is the same wherever this is built.
    flags='-Ctarget-feature=+crt-static --remap-path-prefix=/src=/src'; \
    flags="$flags --remap-path-prefix=${CARGO_HOME:?}=/cargo --remap-path-prefix=/src/target=/target"; \
    RUSTFLAGS="$flags" cargo build --locked --profile dist --target "$target" \
      --package configmapsync-operator --bin configmapsync-operator; \
    # What the program is built of.
    install -D --mode=644 deploy/sbom.cdx.json /image/usr/share/sbom/configmapsync-operator.cdx.json; \
    cp "target/$target/dist/configmapsync-operator" /image/configmapsync-operator; \
    # The name that the program had in the operator's first edition, for Deployments that call it.
    ln -s configmapsync-operator /image/manager; \
    # A program that looks for a loader would not start in an empty image: better found here.
    if ldd /image/configmapsync-operator 2>/dev/null | grep -q '=>'; then echo "not a static program" >&2; exit 1; fi; \
    # The files of a layer have times, which would be those of this build.
    find /image -exec touch --no-dereference --date=@0 {} +

FROM scratch
COPY --from=build /image/ /
# Otherwise each thread has a heap of its own: a third more memory for the same records.
ENV MALLOC_ARENA_MAX=1
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/configmapsync-operator"]
