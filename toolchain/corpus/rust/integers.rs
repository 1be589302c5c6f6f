// SPDX-License-Identifier: MIT
//! Integers of each width, truth values and characters, in registers and on the stack; the value at entry is what counts.
//!
//! As in corpus.h: compiled as `subject` with dataflow on and as `driver` without, and the lines that begin with two slashes
//! and a colon say what must be reported. Only with debug information, as a kernel that records has it.
#![cfg_attr(subject, no_std)]

//: r_bytes(251:1, 200:1)
//: r_bytes -> 195:1
//: r_shorts(65236:2, 60000:2)
//: r_shorts -> 59700:2
//: r_words(4294897296:4, 4000000000:4)
//: r_words -> 3999930000:4
//: r_longs(0xfffffffffffffff9:8, 5000000000:8)
//: r_longs -> 4999999993:8
//: r_wide(0xfffffffffffffffe:16, 3:16)
//: r_wide -> 1:16
//: r_truth(1:1, 0:1)
//: r_truth -> 1:1
//: r_truth(0:1, 0:1)
//: r_truth -> 0:1
//: r_character(0x1f980:4)
//: r_character -> 0x1f980:4
//: r_nine(1:1, 2:2, 3:4, 4:8, 5:1, 6:2, 7:4, 8:8, 9:1)
//: r_nine -> 45:8
//: r_reassigned(7:4, 9:4)
//: r_reassigned -> 81:4
//: r_nothing(12:4)
//: r_nothing -> none

#[cfg(subject)]
mod subject {
    use core::hint::black_box;

    #[no_mangle]
    pub fn r_bytes(a: i8, b: u8) -> i8 {
        black_box(a.wrapping_add(b as i8))
    }

    #[no_mangle]
    pub fn r_shorts(a: i16, b: u16) -> u16 {
        black_box((a as u16).wrapping_add(b))
    }

    #[no_mangle]
    pub fn r_words(a: i32, b: u32) -> u32 {
        black_box((a as u32).wrapping_add(b))
    }

    #[no_mangle]
    pub fn r_longs(a: i64, b: u64) -> u64 {
        black_box((a as u64).wrapping_add(b))
    }

    #[no_mangle]
    pub fn r_wide(a: i128, b: u128) -> u128 {
        black_box((a as u128).wrapping_add(b))
    }

    #[no_mangle]
    pub fn r_truth(a: bool, b: bool) -> bool {
        black_box(a || b)
    }

    #[no_mangle]
    pub fn r_character(a: char) -> char {
        black_box(a)
    }

    #[no_mangle]
    pub fn r_nine(a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32, h: i64, i: u8) -> u64 {
        black_box(a as u64 + b as u64 + c as u64 + d + e as u64 + f as u64 + g as u64 + h as u64 + i as u64)
    }

    #[no_mangle]
    pub fn r_reassigned(mut a: u32, b: u32) -> u32 {
        a = black_box(b);
        black_box(a.wrapping_mul(b))
    }

    #[no_mangle]
    pub fn r_nothing(a: u32) {
        black_box(a);
    }
}

#[cfg(driver)]
extern "Rust" {
    fn r_bytes(a: i8, b: u8) -> i8;
    fn r_shorts(a: i16, b: u16) -> u16;
    fn r_words(a: i32, b: u32) -> u32;
    fn r_longs(a: i64, b: u64) -> u64;
    fn r_wide(a: i128, b: u128) -> u128;
    fn r_truth(a: bool, b: bool) -> bool;
    fn r_character(a: char) -> char;
    fn r_nine(a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32, h: i64, i: u8) -> u64;
    fn r_reassigned(a: u32, b: u32) -> u32;
    fn r_nothing(a: u32);
}

#[cfg(driver)]
fn main() {
    unsafe {
        r_bytes(-5, 200);
        r_shorts(-300, 60000);
        r_words(-70000, 4000000000);
        r_longs(-7, 5000000000);
        r_wide(-2, 3);
        r_truth(true, false);
        r_truth(false, false);
        r_character('\u{1f980}');
        r_nine(1, 2, 3, 4, 5, 6, 7, 8, 9);
        r_reassigned(7, 9);
        r_nothing(12);
    }
}
