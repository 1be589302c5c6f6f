// SPDX-License-Identifier: GPL-2.0

//! Has functions with known arguments and results. Writing a number to the debugfs file `kcov_dataflow_rust/call` calls
//! each of them once. `dataflow/samples.py` computes what the records must contain. `kcov_dataflow_c.c` calls the same.
//!
//! Every function hides its result from the compiler, so no caller knows it. Every function is public, so the compiler
//! drops no parameter and passes each one as the language says.

use core::hint::black_box;
use kernel::debugfs::{Dir, File};
use kernel::prelude::*;
use kernel::uaccess::UserSliceReader;

module! {
    type: Sample,
    name: "kcov_dataflow_rust",
    authors: ["kcov-dataflow-kit"],
    description: "Functions with known arguments, in Rust",
    license: "GPL",
}

#[pin_data]
struct Sample {
    #[pin]
    _file: File<()>,
    _dir: Dir,
}

impl kernel::InPlaceModule for Sample {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let dir = Dir::new(c"kcov_dataflow_rust");

        try_pin_init!(Self {
            _file <- dir.write_callback_file(c"call", (), &written),
            _dir: dir.clone(),
        } ? Error)
    }
}

fn written(_data: &(), reader: &mut UserSliceReader) -> Result {
    let mut text = [0u8; 24];
    let length = reader.len().min(text.len());

    reader.read_slice(&mut text[..length])?;
    let word = core::str::from_utf8(&text[..length]).map_err(|_| EINVAL)?;
    call_all(word.trim().parse().map_err(|_| EINVAL)?);
    Ok(())
}

/// Two numbers that fit one register.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Pair {
    /// The first.
    pub first: u32,
    /// The second.
    pub second: u32,
}

/// More than two registers hold.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Triple {
    /// The first.
    pub first: u64,
    /// The second.
    pub second: u64,
    /// The third.
    pub third: u64,
}

macro_rules! sum {
    ($name:ident, $($arg:ident: $kind:ty),*) => {
        /// The sum of the arguments.
        #[inline(never)]
        pub fn $name($($arg: $kind),*) -> u64 {
            black_box(0u64 $(.wrapping_add($arg as u64))*)
        }
    };
}

sum!(args1, a: u8);
sum!(args2, a: u8, b: u16);
sum!(args3, a: u8, b: u16, c: u32);
sum!(args4, a: u8, b: u16, c: u32, d: u64);
sum!(args5, a: u8, b: u16, c: u32, d: u64, e: i8);
sum!(args6, a: u8, b: u16, c: u32, d: u64, e: i8, f: i16);
sum!(args7, a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32);
sum!(args8, a: u8, b: u16, c: u32, d: u64, e: i8, f: i16, g: i32, h: i64);

/// A truth value, turned round.
#[inline(never)]
pub fn truth(yes: bool) -> bool {
    black_box(!yes)
}

/// A shared reference.
#[inline(never)]
pub fn reference(pair: &Pair) -> u64 {
    black_box(u64::from(pair.first))
}

/// An exclusive reference.
#[inline(never)]
pub fn exclusive(pair: &mut Pair) -> u64 {
    pair.second = black_box(pair.second).wrapping_add(1);
    black_box(u64::from(pair.second))
}

/// A reference that may be absent.
#[inline(never)]
pub fn optional(pair: Option<&Pair>) -> u64 {
    black_box(pair.map_or(0, |it| u64::from(it.second)))
}

/// A result, given and returned.
#[inline(never)]
pub fn fallible(given: core::result::Result<u32, u32>) -> core::result::Result<u32, u32> {
    black_box(match given {
        Ok(number) => Err(number),
        Err(number) => Ok(number),
    })
}

/// A slice.
#[inline(never)]
pub fn slice(numbers: &[u32]) -> u64 {
    black_box(numbers.iter().fold(0, |sum, &one| sum.wrapping_add(u64::from(one))))
}

/// A small struct by value.
#[inline(never)]
pub fn small(pair: Pair) -> u64 {
    black_box(u64::from(pair.first).wrapping_add(u64::from(pair.second)))
}

/// A large struct by value.
#[inline(never)]
pub fn large(triple: Triple) -> u64 {
    black_box(triple.first.wrapping_add(triple.second).wrapping_add(triple.third))
}

impl Pair {
    /// A method.
    #[inline(never)]
    pub fn total(&self, factor: u16) -> u64 {
        black_box((u64::from(self.first) + u64::from(self.second)).wrapping_mul(u64::from(factor)))
    }
}

/// A generic function, for two types.
#[inline(never)]
pub fn generic<T: Into<u64>>(value: T) -> u64 {
    black_box(value.into().wrapping_add(1))
}

fn call_all(n: u64) {
    let mut pair = Pair { first: n as u32, second: n.wrapping_mul(2) as u32 };
    let triple = Triple { first: n, second: n.wrapping_mul(2), third: n.wrapping_mul(3) };
    let numbers = black_box([n as u32, n.wrapping_mul(2) as u32, n.wrapping_mul(3) as u32]);
    let (a, b, c, d) = (n as u8, n.wrapping_mul(2) as u16, n.wrapping_mul(3) as u32, n.wrapping_mul(4));
    let (e, f) = (n.wrapping_mul(5) as i8, n.wrapping_mul(6) as i16);
    let (g, h) = (n.wrapping_mul(7) as i32, n.wrapping_mul(8) as i64);

    args1(a);
    args2(a, b);
    args3(a, b, c);
    args4(a, b, c, d);
    args5(a, b, c, d, e);
    args6(a, b, c, d, e, f);
    args7(a, b, c, d, e, f, g);
    args8(a, b, c, d, e, f, g, h);
    truth(n & 1 == 1);
    reference(black_box(&pair));
    exclusive(&mut pair);
    optional(Some(black_box(&pair)));
    optional(None);
    let _ = fallible(Ok(c));
    let _ = fallible(Err(c));
    slice(&numbers);
    small(pair);
    large(triple);
    pair.total(b);
    generic(a);
    generic(c);
}
