//! Protobuf's numbers and fields, written, and their lengths beforehand.
//!
//! Invariant: each `…_bytes` says exactly what the `put_…` beside it writes. Field numbers are below 16: a key is one byte.

use bytes::{BufMut as _, BytesMut};

/// Bytes that a number takes: seven bits in each.
pub(super) fn number_bytes(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

pub(super) fn put_number(buffer: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        buffer.put_u8(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    buffer.put_u8(number.to_le_bytes()[0]);
}

pub(super) fn put_length(buffer: &mut BytesMut, length: usize) {
    put_number(buffer, length as u64);
}

/// A field of this length with its key.
pub(super) fn nested_bytes(length: usize) -> usize {
    1 + number_bytes(length as u64) + length
}

pub(super) fn put_nested(buffer: &mut BytesMut, number: u8, bytes: &[u8]) {
    buffer.put_u8(number << 3 | 2);
    put_length(buffer, bytes.len());
    buffer.extend_from_slice(bytes);
}

/// A single field is left out when it is empty: that is what its absence means.
pub(super) fn text_field_bytes(length: usize) -> usize {
    match length {
        0 => 0,
        length => nested_bytes(length),
    }
}

pub(super) fn put_text_field(buffer: &mut BytesMut, number: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_nested(buffer, number, bytes);
    }
}

pub(super) fn number_field_bytes(number: u64) -> usize {
    match number {
        0 => 0,
        number => 1 + number_bytes(number),
    }
}

pub(super) fn put_number_field(buffer: &mut BytesMut, field: u8, number: u64) {
    if number != 0 {
        buffer.put_u8(field << 3);
        put_number(buffer, number);
    }
}

pub(super) fn flag_bytes(flag: bool) -> usize {
    number_field_bytes(flag.into())
}

pub(super) fn put_flag(buffer: &mut BytesMut, field: u8, flag: bool) {
    put_number_field(buffer, field, flag.into());
}
