//! Build identity of the `c2l` binary: the git revision and a fingerprint of `proto/`.

fn main() {}
