//! Lists of system calls become a filter of `seccomp(2)`: a program of classic BPF that reads `struct seccomp_data`
//! and returns `SECCOMP_RET_ALLOW`, or `SECCOMP_RET_ERRNO` with `EPERM`.
//!
//! ```text
//!     an instruction at which the kernel gives up caching answers: see below
//!     another architecture: refuse
//!     for each call with conditions:
//!         is it another one: go on
//!         for each condition: the masked argument is none of the values: refuse
//!         allow
//!     binary search for the 32-bit word that has this number's bit
//!     the bit is not set: refuse
//!     allow
//! refuse:
//! allow:
//! ```
//!
//! When a filter is installed, the kernel evaluates it for each number that there is and remembers which numbers are
//! allowed with whatever arguments (`seccomp_cache_prepare` in `kernel/seccomp.c`). It gives up on a number at an
//! instruction that `seccomp_is_const_allow` does not know. With such an instruction at the front, installing takes a
//! third less, and each call that is made takes some nanoseconds more. What is left is translating the instructions,
//! so a filter is to have few of them: words of bits need half as many as a search for single numbers.

use crate::Architecture;
use crate::lists::{Call, Condition};
use libc::sock_filter;
use std::collections::BTreeMap;

// Instructions that `bpf_check_classic` and `seccomp_check_filter` allow. A is the accumulator, X the index register.
/// A = a word of `struct seccomp_data`.
const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
/// X = k, which `seccomp_is_const_allow` does not know.
const SET_INDEX: u16 = (libc::BPF_LDX | libc::BPF_IMM) as u16;
/// A = k.
const SET: u16 = (libc::BPF_LD | libc::BPF_IMM) as u16;
/// A &= k.
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
/// X = A.
const TO_INDEX: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
/// A >>= X.
const SHIFT_BY_INDEX: u16 = (libc::BPF_ALU | libc::BPF_RSH | libc::BPF_X) as u16;
/// On by k instructions.
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
/// A == k: on by jt instructions, else by jf.
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
/// A >= k.
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
/// A & k != 0.
const IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
/// The answer is k.
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

// `struct seccomp_data`: offsets in bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;
/// The lower half of each comes first: the processors that we have numbers of are little-endian.
const ARGUMENT_SIZE: u32 = 8;

const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// Makes the filter that allows these calls, and no others, to programs of this architecture.
///
/// # Panics
/// When the lists are wrong: a call is not known, a call is listed twice, a condition allows no value.
/// Or when they are so long that a conditional jump would have to go further than 255 instructions. The build of the
/// host fails then.
pub fn compile(architecture: &Architecture, lists: &[&[Call]]) -> Vec<sock_filter> {
    let mut allowed = BTreeMap::new();
    let calls = lists.iter().copied().flatten();
    for Call { name, conditions } in calls.filter(|call| !architecture.lacks.contains(&call.name)) {
        let number = architecture.number(name);
        let number = number.unwrap_or_else(|| panic!("{} has no number for {name}", architecture.name));
        let other = allowed.insert(number, *conditions);
        assert!(other.is_none(), "{name} is listed twice");
    }
    let mut drafts = vec![
        draft(SET_INDEX, 0),
        load(ARCHITECTURE),
        branch(IF_EQUAL, architecture.audit, Target::Ahead(0), Target::Refuse),
        load(NUMBER),
    ];
    for (number, conditions) in allowed.iter().filter(|(_, conditions)| !conditions.is_empty()) {
        let check = check(conditions);
        let skip = Target::Ahead(check.len());
        drafts.push(branch(IF_EQUAL, *number, Target::Ahead(0), skip));
        drafts.extend(check);
    }
    let plain = allowed.iter().filter(|(_, conditions)| conditions.is_empty());
    drafts.extend(is_in(plain.map(|(number, _)| *number)));
    // Both answers stand at the end, once.
    let end = drafts.len();
    let drafts = drafts.into_iter().enumerate();
    let mut program: Vec<_> = drafts.map(|(at, draft)| draft.finish(end - at - 1)).collect();
    program.push(answer(REFUSE));
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

/// Allows a call if its arguments are such, or else refuses it.
fn check(conditions: &[Condition]) -> Vec<Draft> {
    let mut program = Vec::new();
    for (index, condition) in conditions.iter().enumerate() {
        let Condition {
            argument,
            mask,
            values,
            excludes,
        } = *condition;
        assert!(argument < 6, "a system call has six arguments");
        assert!(!values.is_empty(), "a condition allows no value");
        let is_last = index + 1 == conditions.len();
        program.push(load(ARGUMENTS + ARGUMENT_SIZE * argument));
        program.push(draft(AND, mask));
        for (index, value) in values.iter().enumerate() {
            let left = values.len() - index - 1;
            let holds = if is_last { Target::Allow } else { Target::Ahead(left) };
            let (yes, no) = match (excludes, left) {
                (false, 0) => (holds, Target::Refuse),
                (false, _) => (holds, Target::Ahead(0)),
                (true, 0) => (Target::Refuse, holds),
                (true, _) => (Target::Refuse, Target::Ahead(0)),
            };
            program.push(branch(IF_EQUAL, *value, yes, no));
        }
    }
    program
}

/// Bits of a word.
const WORD: u32 = u32::BITS;

/// Allows the call whose number was loaded if it is one of these, or else refuses it. Each of them is a bit in one of
/// a few words: X becomes the number of the bit, A the word, and A is shifted right by X.
fn is_in(numbers: impl Iterator<Item = u32>) -> Vec<Draft> {
    let mut words = BTreeMap::new();
    for number in numbers {
        *words.entry(number / WORD * WORD).or_insert(0) |= 1 << (number % WORD);
    }
    if words.is_empty() {
        // The next instruction refuses.
        return Vec::new();
    }
    // Words without bits: before the first, between two, and after the last, up to u32::MAX.
    for first in words.clone().into_keys() {
        words.entry(first + WORD).or_insert(0);
    }
    words.entry(0).or_insert(0);
    let mut program = vec![draft(AND, WORD - 1), draft(TO_INDEX, 0), load(NUMBER)];
    let mut search = search(&Vec::from_iter(words)).0;
    let length = search.len();
    for (at, step) in search.iter_mut().enumerate() {
        if step.code == JUMP {
            step.k = (length - at - 1) as u32;
        }
    }
    program.extend(search);
    program.push(draft(SHIFT_BY_INDEX, 0));
    program.push(branch(IF_SET, 1, Target::Allow, Target::Refuse));
    program
}

/// Binary search for the word of the number in A, by the first number of each word. Sets A to the word and jumps
/// behind the search, by a distance that is yet to be filled in; refuses a number whose word has no bits.
///
/// Returns the instructions, and where to enter them: a word without bits needs none.
fn search(words: &[(u32, u32)]) -> (Vec<Draft>, Target) {
    let (lower, upper) = match words {
        [(_, 0)] => return (Vec::new(), Target::Refuse),
        [(_, bits)] => return (vec![draft(SET, *bits), draft(JUMP, 0)], Target::Ahead(0)),
        _ => words.split_at(words.len() / 2),
    };
    let (first, _) = upper[0];
    let ((lower, below), (upper, above)) = (search(lower), search(upper));
    let above = match above {
        Target::Ahead(distance) => Target::Ahead(lower.len() + distance),
        answer => answer,
    };
    let mut program = vec![branch(IF_AT_LEAST, first, above, below)];
    program.extend(lower);
    program.extend(upper);
    (program, Target::Ahead(0))
}

/// Where to go on.
#[derive(Clone, Copy)]
enum Target {
    /// So many instructions further than the next one.
    Ahead(usize),
    Refuse,
    Allow,
}

/// An instruction whose distance from the two answers, at the end of the program, is not known yet.
struct Draft {
    code: u16,
    k: u32,
    yes: Target,
    no: Target,
}

impl Draft {
    /// The answers are so many instructions further than the next one.
    fn finish(self, end: usize) -> sock_filter {
        let distance = |target| {
            let distance = match target {
                Target::Ahead(distance) => distance,
                Target::Refuse => end,
                Target::Allow => end + 1,
            };
            u8::try_from(distance).expect("a jump of 255 instructions at most: shorten the lists")
        };
        sock_filter {
            code: self.code,
            jt: distance(self.yes),
            jf: distance(self.no),
            k: self.k,
        }
    }
}

fn load(offset: u32) -> Draft {
    draft(LOAD, offset)
}

fn draft(code: u16, k: u32) -> Draft {
    branch(code, k, Target::Ahead(0), Target::Ahead(0))
}

fn branch(code: u16, k: u32, yes: Target, no: Target) -> Draft {
    Draft { code, k, yes, no }
}

fn answer(k: u32) -> sock_filter {
    sock_filter {
        code: RETURN,
        jt: 0,
        jf: 0,
        k,
    }
}
