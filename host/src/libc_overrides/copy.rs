//! `memcpy(3)`, `memmove(3)` and `memcmp(3)`, in place of musl's: those copy with `rep movsq` whatever
//! the size, compare byte by byte, and were a tenth of what a small guest costs. Nearly all that is
//! copied here is smaller than a cache line or two, for which a few overlapping loads and stores do.
//!
//! In assembly, because a compiler may take a loop that copies for `memcpy` and call that.

use std::arch::naked_asm;
use std::ffi::c_int;

/// What both copies begin with: up to 128 bytes, all of them loaded before any is stored, so that the two
/// places may overlap. Goes on at 8 with more. In: to `rdi`, from `rsi`, `rdx` bytes; `rax` is kept.
macro_rules! up_to_128 {
    () => {
        "
    2:  cmp rdx, 16
        jb 4f
        cmp rdx, 32
        ja 3f
        movups xmm0, [rsi]
        movups xmm1, [rsi + rdx - 16]
        movups [rdi], xmm0
        movups [rdi + rdx - 16], xmm1
        ret
    3:  cmp rdx, 128
        ja 8f
        movups xmm0, [rsi]
        movups xmm1, [rsi + 16]
        movups xmm2, [rsi + rdx - 32]
        movups xmm3, [rsi + rdx - 16]
        cmp rdx, 64
        jbe 7f
        movups xmm4, [rsi + 32]
        movups xmm5, [rsi + 48]
        movups xmm6, [rsi + rdx - 64]
        movups xmm7, [rsi + rdx - 48]
        movups [rdi + 32], xmm4
        movups [rdi + 48], xmm5
        movups [rdi + rdx - 64], xmm6
        movups [rdi + rdx - 48], xmm7
    7:  movups [rdi], xmm0
        movups [rdi + 16], xmm1
        movups [rdi + rdx - 32], xmm2
        movups [rdi + rdx - 16], xmm3
        ret
    4:  cmp edx, 8
        jb 5f
        mov rcx, [rsi]
        mov r8, [rsi + rdx - 8]
        mov [rdi], rcx
        mov [rdi + rdx - 8], r8
        ret
    5:  cmp edx, 4
        jb 6f
        mov ecx, [rsi]
        mov r8d, [rsi + rdx - 4]
        mov [rdi], ecx
        mov [rdi + rdx - 4], r8d
        ret
    6:  test edx, edx
        jz 9f
        mov r10d, edx
        shr r10d, 1
        movzx ecx, byte ptr [rsi]
        movzx r8d, byte ptr [rsi + r10]
        movzx r9d, byte ptr [rsi + rdx - 1]
        mov [rdi], cl
        mov [rdi + r10], r8b
        mov [rdi + rdx - 1], r9b
    9:  ret
        "
    };
}

/// From how many bytes on `rep movsb` is worth what it takes to begin.
const LONG: usize = 1024;

/// 64 bytes more, and whether there are more than 128 left.
macro_rules! forward {
    () => {
        "
        movups xmm0, [rsi]
        movups xmm1, [rsi + 16]
        movups xmm2, [rsi + 32]
        movups xmm3, [rsi + 48]
        movups [rdi], xmm0
        movups [rdi + 16], xmm1
        movups [rdi + 32], xmm2
        movups [rdi + 48], xmm3
        add rsi, 64
        add rdi, 64
        sub rdx, 64
        cmp rdx, 128
        "
    };
}

/// Copies `count` bytes between places that do not overlap; returns `to`.
///
/// # Safety
/// As of `memcpy(3)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        up_to_128!(),
        "
    8:  cmp rdx, {long}
        ja 15f
    14:",
        forward!(),
        "
        ja 14b
        jmp 2b
    15: mov rcx, rdx
        rep movsb
        ret
        ",
        long = const LONG
    )
}

/// Copies `count` bytes between places that may overlap; returns `to`.
///
/// # Safety
/// As of `memmove(3)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        up_to_128!(),
        "
    8:  mov rcx, rdi
        sub rcx, rsi
        cmp rcx, rdx
        jb 13f
        neg rcx
        cmp rcx, rdx
        jb 12f
        cmp rdx, {long}
        jbe 12f
        mov rcx, rdx
        rep movsb
        ret
        // To a lower address, or few and far away: from the beginning.
    12:",
        forward!(),
        "
        ja 12b
        jmp 2b
        // To a higher address, from the end.
    13: movups xmm0, [rsi + rdx - 16]
        movups xmm1, [rsi + rdx - 32]
        movups xmm2, [rsi + rdx - 48]
        movups xmm3, [rsi + rdx - 64]
        movups [rdi + rdx - 16], xmm0
        movups [rdi + rdx - 32], xmm1
        movups [rdi + rdx - 48], xmm2
        movups [rdi + rdx - 64], xmm3
        sub rdx, 64
        cmp rdx, 128
        ja 13b
        jmp 2b
        ",
        long = const LONG
    )
}

/// Which of two places has the greater first byte that differs: less than, equal to or greater than 0.
///
/// # Safety
/// As of `memcmp(3)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> c_int {
    naked_asm!(
        "
        cmp rdx, 8
        jb 5f
    2:  mov rax, [rdi]
        mov rcx, [rsi]
        cmp rax, rcx
        jne 4f
        add rdi, 8
        add rsi, 8
        sub rdx, 8
        cmp rdx, 8
        jae 2b
        // What is left, with some of what was compared.
        mov rax, [rdi + rdx - 8]
        mov rcx, [rsi + rdx - 8]
        cmp rax, rcx
        jne 4f
    3:  xor eax, eax
        ret
    4:  bswap rax
        bswap rcx
        cmp rax, rcx
        sbb eax, eax
        or eax, 1
        ret
    5:  test rdx, rdx
        jz 3b
    6:  movzx eax, byte ptr [rdi]
        movzx ecx, byte ptr [rsi]
        sub eax, ecx
        jne 7f
        inc rdi
        inc rsi
        dec rdx
        jnz 6b
    7:  ret
        "
    )
}

/// As [`memcmp`], for whoever only asks whether they are equal.
///
/// # Safety
/// As of `memcmp(3)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> c_int {
    naked_asm!("jmp {}", sym memcmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Around each of the sizes that are treated differently, and well beyond the last.
    const MOST: usize = LONG + 200;

    fn pattern() -> Vec<u8> {
        (0..MOST * 2).map(|at| (at * 7 + at / 256) as u8 | 1).collect()
    }

    #[test]
    fn all_sizes_are_copied_and_nothing_beside_them() {
        let from = pattern();
        for count in 0..MOST {
            for offset in [0, 1, 7] {
                let mut to = vec![0; MOST + 16];
                // SAFETY: both have room for it.
                let end = unsafe { memcpy(to[offset..].as_mut_ptr(), from.as_ptr(), count) };
                assert_eq!(end, to[offset..].as_mut_ptr());
                assert!(to[offset..offset + count].iter().eq(&from[..count]));
                assert!(to[..offset].iter().all(|byte| *byte == 0), "{count}");
                assert!(to[offset + count..].iter().all(|b| *b == 0), "{count}");
            }
        }
    }

    #[test]
    fn what_overlaps_is_moved_as_if_it_did_not() {
        let original = pattern();
        for count in 0..MOST {
            for (from, to) in [
                (0, 0),
                (0, 1),
                (1, 0),
                (0, 15),
                (17, 0),
                (0, 63),
                (65, 0),
                (0, 400),
                (400, 0),
            ] {
                let mut bytes = original.clone();
                // SAFETY: there is room for it behind both.
                unsafe { memmove(bytes[to..].as_mut_ptr(), bytes[from..].as_ptr(), count) };
                let mut expected: Vec<u8> = original[..to].to_vec();
                expected.extend(&original[from..from + count]);
                expected.extend(&original[to + count..]);
                assert!(bytes.iter().eq(&expected), "{count} bytes, {from} to {to}");
            }
        }
    }

    #[test]
    fn the_first_difference_decides() {
        let one = pattern();
        for count in 0..MOST {
            // SAFETY: both have as many bytes.
            let compare = |other: &[u8]| unsafe { memcmp(one.as_ptr(), other.as_ptr(), count) };
            let mut other = one.clone();
            other[count] = 0;
            assert_eq!(compare(&other), 0);
            for at in [0, count / 2, count.wrapping_sub(1)] {
                if at >= count {
                    continue;
                }
                let mut other = one.clone();
                other[count - 1] ^= 0xff;
                other[at] = 0;
                assert!(compare(&other) > 0, "{count} bytes, at {at}");
                other[at] = 0xff;
                let expected = one[at].cmp(&0xff);
                if at + 1 < count || expected.is_lt() {
                    assert_eq!(compare(&other).cmp(&0), one[..count].cmp(&other[..count]));
                }
            }
        }
    }
}
