//! System calls become a program of the kernel's packet filter (`seccomp(2)`).
//!
//! `seccompiler` compares with one call after the other. The kernel runs a filter for every call there
//! is when it is installed, to remember the answers, which takes half a millisecond for a list as long
//! as ours. A search for the word with a call's bit takes a fifth of that, and a third less where the kernel
//! meets an instruction that it does not try (`seccomp_is_const_allow`): then it runs the filter for each call
//! that is made, which takes some nanoseconds. What is left is translating each of the instructions.

use crate::lists::{Call, Only};
use std::collections::BTreeMap;

/// One instruction: `struct sock_filter`.
pub struct Step {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
/// Sets a register that is not used.
const NOT_TRIED: u16 = (libc::BPF_LDX | libc::BPF_IMM) as u16;
const SET: u16 = (libc::BPF_LD | libc::BPF_IMM) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
/// The accumulator becomes the index register, and is shifted by it.
const TO_INDEX: u16 = (libc::BPF_MISC | libc::BPF_TAX) as u16;
const SHIFT_BY_INDEX: u16 = (libc::BPF_ALU | libc::BPF_RSH | libc::BPF_X) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Where `struct seccomp_data` has what.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_X86_64` (`linux/audit.h`). Calls of 32-bit programs have other numbers.
const X86_64: u32 = 0xc000_003e;

const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// The filter that allows these calls. Where one is in several lists, the last one counts.
pub fn compile(lists: &[&'static [Call]]) -> Vec<Step> {
    let calls = lists.iter().copied().flatten();
    let allowed: BTreeMap<u32, &'static [Only]> = calls.map(|call| (call.number as u32, call.only)).collect();
    let mut drafts = vec![
        draft(NOT_TRIED, 0),
        load(ARCHITECTURE),
        branch(IF_EQUAL, X86_64, Target::Ahead(0), Target::Refuse),
        load(NUMBER),
    ];
    for (number, only) in allowed.iter().filter(|(_, only)| !only.is_empty()) {
        let check = check(only);
        let skip = Target::Ahead(check.len());
        drafts.push(branch(IF_EQUAL, *number, Target::Ahead(0), skip));
        drafts.extend(check);
    }
    let plain = allowed.iter().filter(|(_, only)| only.is_empty());
    drafts.extend(is_in(plain.map(|(number, _)| *number)));
    // Both answers stand at the end, once.
    let end = drafts.len();
    let steps = drafts.into_iter().enumerate();
    let mut program: Vec<Step> = steps.map(|(at, draft)| draft.step(end - at - 1)).collect();
    program.push(answer(REFUSE));
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

/// Bits of a word.
const WORD: u32 = u32::BITS;

/// Allows the call whose number was loaded if it is one of these: each has a bit.
fn is_in(numbers: impl Iterator<Item = u32>) -> Vec<Draft> {
    let mut words = BTreeMap::new();
    for number in numbers {
        *words.entry(number / WORD * WORD).or_insert(0) |= 1 << (number % WORD);
    }
    // All that lie between, or after the last.
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

/// Where to go on.
#[derive(Clone, Copy)]
enum Target {
    /// So many instructions further than the next one.
    Ahead(usize),
    Refuse,
    Allow,
}

/// An instruction that does not know yet where the program ends.
struct Draft {
    code: u16,
    k: u32,
    yes: Target,
    no: Target,
}

impl Draft {
    /// The end is so many instructions further than the next one.
    fn step(self, end: usize) -> Step {
        let distance = |target| {
            let distance = match target {
                Target::Ahead(distance) => distance,
                Target::Refuse => end,
                Target::Allow => end + 1,
            };
            u8::try_from(distance).expect("a jump of 255 instructions at most: shorten the list")
        };
        Step {
            code: self.code,
            jt: distance(self.yes),
            jf: distance(self.no),
            k: self.k,
        }
    }
}

/// Sets the accumulator to the word that a number is in, and jumps to the end, which is yet to be filled in.
/// Finds it by halves, by the first number of each; one without bits is refused. Returns also where to begin.
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

/// Allows what has such arguments.
fn check(arguments: &[Only]) -> Vec<Draft> {
    let mut program = Vec::new();
    for (index, only) in arguments.iter().enumerate() {
        let is_last = index + 1 == arguments.len();
        program.push(load(ARGUMENTS + 4 * only.word));
        program.push(draft(AND, only.mask));
        for (index, value) in only.values.iter().enumerate() {
            let left = only.values.len() - index - 1;
            let yes = if is_last { Target::Allow } else { Target::Ahead(left) };
            let no = if left == 0 { Target::Refuse } else { Target::Ahead(0) };
            program.push(branch(IF_EQUAL, *value, yes, no));
        }
    }
    program
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

fn answer(k: u32) -> Step {
    Step {
        code: RETURN,
        jt: 0,
        jf: 0,
        k,
    }
}
