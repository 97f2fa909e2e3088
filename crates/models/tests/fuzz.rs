//! The fuzz target of tools/fuzz for bodies, on stable: the same code, on bytes that proptest makes and shortens.
//!
//! Read next: `tools/fuzz/src/bodies.rs`.

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "shared with the fuzz targets, which keep to lints of their own"
)]

use proptest::prelude::*;
// What `bodies` uses; it stands outside of this crate.
use {serde as _, serde_json as _};

#[path = "../../../tools/fuzz/src/bodies.rs"]
mod bodies;
#[path = "../../../tools/fuzz/src/choices.rs"]
mod choices;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn nothing_whole_passes_whose_models_as_go_reads_them_are_not_all_allowed(
        data in prop::collection::vec(any::<u8>(), 0..300)
    ) {
        bodies::judged(&data);
    }
}
