# syntax=docker/dockerfile:1
# The operator alone in an empty image: one static program, no shell, no user but 65532.
# `make image` puts the same together without a container engine (loadtest/testbed/src/image/).

# To the patch: another compiler makes other bytes.
ARG RUST_VERSION=1.95.0
# On the machine's own architecture: the compiler makes the other one's program, which is quicker than to run there.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:${RUST_VERSION}-bookworm AS build
ARG TARGETARCH
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,id=target-${TARGETARCH} \
    set -eu; \
    deploy/tools/program.sh ${TARGETARCH:+--arch "$TARGETARCH"} >/tmp/program; \
    # What the program is built of.
    install -D --mode=644 deploy/sbom.cdx.json /image/usr/share/sbom/configmapsync-operator.cdx.json; \
    cp "$(tail -n 1 /tmp/program)" /image/configmapsync-operator; \
    # The name that the program had in the operator's first edition, for Deployments that call it.
    ln -s configmapsync-operator /image/manager; \
    # The files of a layer have times, which would be those of this build.
    find /image -exec touch --no-dereference --date=@0 {} +

FROM scratch
COPY --from=build /image/ /
# Otherwise each thread has a heap of its own: a third more memory for the same records.
ENV MALLOC_ARENA_MAX=1
USER 65532:65532
EXPOSE 8080 8081
ENTRYPOINT ["/configmapsync-operator"]
