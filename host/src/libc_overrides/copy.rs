//! `memcpy(3)`, `memmove(3)`, `memcmp(3)` and `bcmp(3)`, in place of musl's. musl copies with `rep movsq` at every
//! size and compares byte by byte: a tenth of the CPU time of a small guest. Nearly all copies in the host are of
//! one or two cache lines at most, for which a few overlapping loads and stores are enough.
//!
//! In assembly, because a compiler may recognise a loop that copies as `memcpy`, and call `memcpy` for it. Only SSE2
//! is used, which every x86-64 processor has: nothing is detected at run time.

use std::arch::naked_asm;
use std::ffi::c_int;

/// The first part of both copies: up to 128 bytes, all of which are loaded before the first is stored, so that source
/// and destination may overlap. Larger sizes continue at label 8. Registers: destination `rdi`, source `rsi`, size
/// `rdx`; `rax` is preserved.
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

/// The size in bytes above which `rep movsb` is faster, in spite of its start-up cost.
const LONG: usize = 1024;

/// Copies the next 64 bytes, then sets the flags for "more than 128 bytes are left" (`ja`).
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

/// Copies `count` bytes between areas that do not overlap; returns `to`.
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

/// Copies `count` bytes between areas that may overlap; returns `to`.
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
        // To a lower address, or small and without overlap: from the beginning.
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

/// Compares the first bytes that differ, as unsigned numbers: less than, equal to or greater than 0.
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
        // The last 8 bytes, some of which were compared already.
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

/// 0 if both areas are equal, something else if they are not; here the same as [`memcmp`].
///
/// # Safety
/// As of `bcmp(3)`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, count: usize) -> c_int {
    naked_asm!("jmp {}", sym memcmp)
}

#[cfg(test)]
mod tests;
