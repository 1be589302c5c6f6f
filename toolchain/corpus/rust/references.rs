// SPDX-License-Identifier: MIT
//! References of all kinds: shared, exclusive, absent, of slices and strings, raw; and methods.
#![cfg_attr(subject, no_std)]

//: r_shared(&PAIR{0:4=11 4:4=22}:8)
//: r_shared -> 11:4
//: r_exclusive(&OTHER{0:4=33 4:4=44}:8)
//: r_exclusive -> 45:4
//: r_optional(&PAIR:8)
//: r_optional -> 22:4
//: r_optional(0:8)
//: r_optional -> 0:4
//: r_slice({0:8=_ 8:8=3}:16)
//: r_slice -> 66:4
//: r_text({0:8=_ 8:8=5}:16)
//: r_text -> 5:8
//: r_raw(&PAIR{0:4=11 4:4=22}:8)
//: r_raw -> 33:4
//: r_number(&NUMBER:8)
//: r_number -> 77:8
//: r_method(&PAIR{0:4=11 4:4=22}:8, 3:2)
//: r_method -> 99:4
//: r_gives(1:1)
//: r_gives -> &PAIR{0:4=11 4:4=22}:8

#[repr(C)]
pub struct Pair {
    first: u32,
    second: u32,
}

#[cfg(subject)]
mod subject {
    use super::Pair;
    use core::hint::black_box;

    extern "Rust" {
        static PAIR: Pair;
    }

    #[no_mangle]
    pub fn r_shared(pair: &Pair) -> u32 {
        black_box(pair.first)
    }

    #[no_mangle]
    pub fn r_exclusive(pair: &mut Pair) -> u32 {
        pair.second += 1;
        black_box(pair.second)
    }

    #[no_mangle]
    pub fn r_optional(pair: Option<&Pair>) -> u32 {
        black_box(pair.map_or(0, |it| it.second))
    }

    #[no_mangle]
    pub fn r_slice(numbers: &[u32]) -> u32 {
        black_box(numbers.iter().fold(0, |sum, one| sum ^ one))
    }

    #[no_mangle]
    pub fn r_text(text: &str) -> usize {
        black_box(text.len())
    }

    #[no_mangle]
    pub unsafe fn r_raw(pair: *const Pair) -> u32 {
        black_box((*pair).first + (*pair).second)
    }

    #[no_mangle]
    pub fn r_number(number: &u64) -> u64 {
        black_box(*number)
    }

    impl Pair {
        #[no_mangle]
        pub fn r_method(&self, factor: u16) -> u32 {
            black_box((self.first + self.second) * factor as u32)
        }
    }

    #[no_mangle]
    pub fn r_gives(yes: bool) -> &'static Pair {
        black_box(yes);
        unsafe { black_box(&PAIR) }
    }
}

#[cfg(driver)]
#[no_mangle]
pub static PAIR: Pair = Pair { first: 11, second: 22 };
#[cfg(driver)]
#[no_mangle]
pub static mut OTHER: Pair = Pair { first: 33, second: 44 };
#[cfg(driver)]
#[no_mangle]
pub static NUMBER: u64 = 77;

#[cfg(driver)]
extern "Rust" {
    fn r_shared(pair: &Pair) -> u32;
    fn r_exclusive(pair: &mut Pair) -> u32;
    fn r_optional(pair: Option<&Pair>) -> u32;
    fn r_slice(numbers: &[u32]) -> u32;
    fn r_text(text: &str) -> usize;
    fn r_raw(pair: *const Pair) -> u32;
    fn r_number(number: &u64) -> u64;
    fn r_method(pair: &Pair, factor: u16) -> u32;
    fn r_gives(yes: bool) -> &'static Pair;
}

#[cfg(driver)]
fn main() {
    unsafe {
        r_shared(&PAIR);
        r_exclusive(&mut *(&raw mut OTHER));
        r_optional(Some(&PAIR));
        r_optional(None);
        r_slice(&[64, 7, 5]);
        r_text("hallo");
        r_raw(&PAIR);
        r_number(&NUMBER);
        r_method(&PAIR, 3);
        r_gives(true);
    }
}
