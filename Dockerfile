# syntax=docker/dockerfile:1
# Two stages: the toolchain stays behind, the image holds one binary.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# Queries are checked against the metadata in `.sqlx`, so no database is needed here.
ENV SQLX_OFFLINE=true
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin gatewright \
    && cp target/release/gatewright /usr/local/bin/gatewright

FROM debian:bookworm-slim
# Makes the sandbox for commands. Where the container may not make user namespaces, the tools that need it refuse.
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home gatewright
COPY --from=build /usr/local/bin/gatewright /usr/local/bin/gatewright
COPY policy/examples/default.toml /etc/gatewright/policy.toml
USER gatewright
# SIGTERM drains: a worker takes no more runs, finishes or hands back those that it holds, and goes.
STOPSIGNAL SIGTERM
ENTRYPOINT ["gatewright"]
CMD ["--help"]
