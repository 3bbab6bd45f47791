//! An interpreter of classic BPF, as far as filters of system calls have it (`seccomp_check_filter`).
//!
//! Its numbers are those of `linux/bpf_common.h` and `linux/seccomp.h`, written out once more: a mistake in those of
//! the compiler is not made twice.

use libc::sock_filter;

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
pub struct Data {
    pub number: u32,
    pub architecture: u32,
    pub instruction_pointer: u64,
    pub arguments: [u64; 6],
}

impl Data {
    /// The word at this offset, in bytes. A processor whose numbers we have is little-endian.
    fn word(&self, offset: u32) -> u32 {
        assert!(offset.is_multiple_of(4), "a word is aligned");
        let half = |value: u64| (value >> (offset % 8 * 8)) as u32;
        match offset {
            0 => self.number,
            4 => self.architecture,
            8..16 => half(self.instruction_pointer),
            16..64 => half(self.arguments[(offset as usize - 16) / 8]),
            _ => panic!("struct seccomp_data has 64 bytes"),
        }
    }
}

/// Runs a filter for one system call. Returns its answer, `SECCOMP_RET_*`.
pub fn run(program: &[sock_filter], data: &Data) -> u32 {
    let (mut a, mut x, mut next) = (0_u32, 0_u32, 0_usize);
    loop {
        let sock_filter { code, jt, jf, k } = program[next];
        next += 1;
        let branch = |holds: bool| usize::from(if holds { jt } else { jf });
        match code {
            0x00 => a = k,                      // BPF_LD | BPF_IMM
            0x01 => x = k,                      // BPF_LDX | BPF_IMM
            0x20 => a = data.word(k),           // BPF_LD | BPF_W | BPF_ABS
            0x54 => a &= k,                     // BPF_ALU | BPF_AND | BPF_K
            0x7c => a >>= x,                    // BPF_ALU | BPF_RSH | BPF_X: here, 32 and more would panic
            0x07 => x = a,                      // BPF_MISC | BPF_TAX
            0x05 => next += k as usize,         // BPF_JMP | BPF_JA
            0x15 => next += branch(a == k),     // BPF_JMP | BPF_JEQ | BPF_K
            0x35 => next += branch(a >= k),     // BPF_JMP | BPF_JGE | BPF_K
            0x45 => next += branch(a & k != 0), // BPF_JMP | BPF_JSET | BPF_K
            0x06 => return k,                   // BPF_RET | BPF_K
            _ => panic!("no instruction: {code:#x}"),
        }
    }
}

/// Where a program can go on after this instruction: `None` for a return.
pub fn successors(program: &[sock_filter], at: usize) -> Option<Vec<usize>> {
    let sock_filter { code, jt, jf, k } = program[at];
    match code {
        0x06 => None,
        0x05 => Some(vec![at + 1 + k as usize]),
        0x15 | 0x35 | 0x45 => Some(vec![at + 1 + usize::from(jt), at + 1 + usize::from(jf)]),
        0x00 | 0x01 | 0x20 | 0x54 | 0x7c | 0x07 => Some(vec![at + 1]),
        _ => panic!("no instruction: {code:#x}"),
    }
}
