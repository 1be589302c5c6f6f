// SPDX-License-Identifier: MIT
//! Enums with data: debug information has them as a number and a union of the variants.
#![cfg_attr(subject, no_std)]

//: r_option(0x50000000000000001:16)
//: r_option -> 6:8
//: r_option(_)
//: r_option -> 0:8
//: r_some -> 0x70000000000000001:16
//: r_some(7:8)
//: r_reference(_)
//: r_reference -> 9:4
//: r_either(0x300000000:8)
//: r_either -> 3:4
//: r_either(0x400000001:8)
//: r_either -> 4:4

pub enum Either {
    Left(u32),
    Right(i32),
}

#[cfg(subject)]
mod subject {
    use super::Either;
    use core::hint::black_box;

    #[no_mangle]
    pub fn r_option(given: Option<u64>) -> u64 {
        black_box(given.map_or(0, |number| number + 1))
    }

    #[no_mangle]
    pub fn r_some(number: u64) -> Option<u64> {
        Some(black_box(number))
    }

    #[no_mangle]
    pub fn r_reference(given: Option<&u32>) -> u32 {
        black_box(*given.unwrap())
    }

    #[no_mangle]
    pub fn r_either(given: Either) -> u32 {
        black_box(match given {
            Either::Left(number) => number,
            Either::Right(number) => number as u32,
        })
    }
}

#[cfg(driver)]
extern "Rust" {
    fn r_option(given: Option<u64>) -> u64;
    fn r_some(number: u64) -> Option<u64>;
    fn r_reference(given: Option<&u32>) -> u32;
    fn r_either(given: Either) -> u32;
}

#[cfg(driver)]
fn main() {
    unsafe {
        r_option(Some(5));
        r_option(None);
        let _ = r_some(7);
        r_reference(Some(&9));
        r_either(Either::Left(3));
        r_either(Either::Right(4));
    }
}
