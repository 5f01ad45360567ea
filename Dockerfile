# Sallyport's image: two static programs and nothing else, the second for containers of other images.
#
#   docker build .                            compiles from these sources
#   docker build --target prebuilt .          takes what `make build` made in bin; no registry needed

FROM scratch AS base
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sallyport" \
      org.opencontainers.image.description="Lets Vault's secrets out to the pods that may use them, and leaves no copy behind" \
      org.opencontainers.image.url="https://sallyport.dev" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE /LICENSE
# The node plugin mounts, so its DaemonSet runs it as root.
USER 65532:65532
ENTRYPOINT ["/sallyport"]

FROM base AS prebuilt
COPY bin/sallyport bin/sallyport-exec /

# Built on the machine's own platform, for the image's.
FROM --platform=${BUILDPLATFORM:-linux/amd64} golang:1.26.8 AS build
ARG TARGETARCH
ARG VERSION=devel
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY main.go ./
COPY api/ api/
COPY cmd/sallyport-exec/ cmd/sallyport-exec/
COPY controllers/ controllers/
COPY internal/ internal/
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOOS=linux GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X sallyport.dev/sallyport/internal/app.version=${VERSION}" -o /sallyport . && \
    CGO_ENABLED=0 GOOS=linux GOARCH=${TARGETARCH} go build -trimpath -buildvcs=false \
    -ldflags "-s -w -X sallyport.dev/sallyport/internal/launcher.version=${VERSION}" -o /sallyport-exec ./cmd/sallyport-exec

FROM base
COPY --from=build /sallyport /sallyport-exec /
