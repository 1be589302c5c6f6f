// SPDX-License-Identifier: MIT
//! Structs, tuples and enums by value: in one register, in two, in memory.
#![cfg_attr(subject, no_std)]

//: r_pair({0:4=11 4:4=22}:8)
//: r_pair -> 33:4
//: r_triple({0:8=1 8:8=2 16:8=3}:24)
//: r_triple -> 6:8
//: r_newtype({0:8=9}:8)
//: r_newtype -> 10:8
//: r_result(0x700000000:8)
//: r_result -> 0x700000001:8
//: r_result(0x800000001:8)
//: r_result -> 0x800000000:8
//: r_small(2:1)
//: r_small -> 3:4
//: r_swapped(1:4, 2:4)
//: r_swapped -> {0:4=2 4:4=1}:8
//: r_made(5:8)
//: r_made -> {0:8=5 8:8=10 16:8=15}:24

#[repr(C)]
pub struct Pair {
    first: u32,
    second: u32,
}

#[repr(C)]
pub struct Triple {
    first: u64,
    second: u64,
    third: u64,
}

pub struct Newtype(u64);

#[repr(u8)]
pub enum Small {
    One = 1,
    Two = 2,
}

#[cfg(subject)]
mod subject {
    use super::{Newtype, Pair, Small, Triple};
    use core::hint::black_box;

    #[no_mangle]
    pub fn r_pair(pair: Pair) -> u32 {
        black_box(pair.first + pair.second)
    }

    #[no_mangle]
    pub fn r_triple(triple: Triple) -> u64 {
        black_box(triple.first + triple.second + triple.third)
    }

    #[no_mangle]
    pub fn r_newtype(number: Newtype) -> u64 {
        black_box(number.0 + 1)
    }

    #[no_mangle]
    pub fn r_result(given: Result<u32, u32>) -> Result<u32, u32> {
        black_box(match given {
            Ok(number) => Err(number),
            Err(number) => Ok(number),
        })
    }

    #[no_mangle]
    pub fn r_small(given: Small) -> u32 {
        black_box(given as u32 + 1)
    }

    #[no_mangle]
    pub fn r_swapped(first: u32, second: u32) -> Pair {
        black_box(Pair { first: second, second: first })
    }

    #[no_mangle]
    pub fn r_made(number: u64) -> Triple {
        black_box(Triple { first: number, second: number * 2, third: number * 3 })
    }
}

#[cfg(driver)]
extern "Rust" {
    fn r_pair(pair: Pair) -> u32;
    fn r_triple(triple: Triple) -> u64;
    fn r_newtype(number: Newtype) -> u64;
    fn r_result(given: Result<u32, u32>) -> Result<u32, u32>;
    fn r_small(given: Small) -> u32;
    fn r_swapped(first: u32, second: u32) -> Pair;
    fn r_made(number: u64) -> Triple;
}

#[cfg(driver)]
fn main() {
    unsafe {
        r_pair(Pair { first: 11, second: 22 });
        r_triple(Triple { first: 1, second: 2, third: 3 });
        r_newtype(Newtype(9));
        let _ = r_result(Ok(7));
        let _ = r_result(Err(8));
        r_small(Small::Two);
        let _ = Small::One;
        r_swapped(1, 2);
        r_made(5);
    }
}
