# Two stages: the toolchain stays behind, the image holds one binary. Needs BuildKit (Docker 20.10 or newer) or buildah: for the caches.

# The toolchain of `rust-toolchain.toml`, which a test holds. The file itself stays out of the build:
# it asks for lints and formatting too, and rustup would fetch them.
FROM rust:1.95.0-slim-bookworm AS build
# `dev` builds in a third of the time, for trying changes out.
ARG PROFILE=release
WORKDIR /src
COPY . .
# Queries are checked against the metadata in `.sqlx`, so no database is needed here.
ENV SQLX_OFFLINE=true
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile "$PROFILE" --locked --bin gatewright \
    && folder=$PROFILE && if [ "$PROFILE" = dev ]; then folder=debug; fi \
    && cp "target/$folder/gatewright" /usr/local/bin/gatewright

FROM debian:bookworm-slim
# bubblewrap makes the sandbox for commands; where the container may not make user namespaces, the tools that need it refuse.
# The certificates are for NATS and Postgres over TLS; egress brings its own.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap ca-certificates \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home gatewright
COPY --from=build /usr/local/bin/gatewright /usr/local/bin/gatewright
COPY policy/examples/default.toml /etc/gatewright/policy.toml
USER gatewright
# SIGTERM drains: a worker takes no more runs, finishes or hands back those that it holds, and goes.
STOPSIGNAL SIGTERM
ENTRYPOINT ["gatewright"]
CMD ["--help"]
