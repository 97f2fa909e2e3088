# What a developer types. `just` lists it.

_default:
    @just --list --unsorted

# Exactly what CI runs: format, lints, tests, documentation, dependencies, wire contract, real clients.
check:
    bash .ci/run

# A relay, an agent and, when no Ollama answers here, a demo model: ready to be asked.
dev *arguments:
    cargo run --bin c2l -- dev {{ arguments }}

# The web page's build, which is committed: crates/web/dist. `web/README.md` says how to work on it.
page:
    cd web && npm ci && npm run check && npm run build

# The tests alone.
test *arguments:
    cargo test {{ arguments }}

# Format Rust and the wire contract.
format:
    cargo fmt --all
    buf format --write

# Real, unmodified clients through a relay.
clients *arguments:
    tools/clients/run {{ arguments }}

# The web page in a real browser; `--screenshots docs/screenshots` makes the pictures of the README again.
page *arguments:
    tools/web/run {{ arguments }}

# Tokens of a real identity provider at a relay.
identity *arguments:
    tools/identity/run {{ arguments }}

# What a gRPC client sees on the public port.
grpc: _release
    tools/grpcurl-check target/release/c2l

# What others expect of HTTP/2 and of WebSockets: h2spec, Autobahn's cases.
conformance:
    tools/conformance/run

# Real proxies, clocks that jump, networks that fail; some of it needs root.
network *arguments: _release
    tools/network/run --binary target/release/c2l {{ arguments }}

_release:
    cargo build --locked --release --bin c2l
