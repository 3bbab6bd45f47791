//! System calls become a program of the kernel's packet filter (`seccomp(2)`).
//!
//! `seccompiler` compares with one call after the other. The kernel runs a filter for every call there
//! is when it is installed, to remember the answers, which takes half a millisecond for a list as long
//! as ours. A search tree of ranges takes a fifth of that, and a third less where the kernel meets an
//! instruction that it does not try (`seccomp_is_const_allow`): then it runs the filter for each call that
//! is made, which takes some nanoseconds.

use crate::syscalls::{Call, Only};
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
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Where `struct seccomp_data` has what.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_X86_64` (`linux/audit.h`). Calls of 32-bit programs have other numbers.
const X86_64: u32 = 0xc000_003e;

const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// The calls from one number up to the next range's: refused, or allowed with these arguments.
type Range = (u32, Option<&'static [Only]>);

/// The filter that allows these calls. Where one is in several lists, the last one counts.
pub fn compile(lists: &[&'static [Call]]) -> Vec<Step> {
    let mut drafts = vec![
        draft(NOT_TRIED, 0),
        load(ARCHITECTURE),
        branch(IF_EQUAL, X86_64, Target::Ahead(0), Target::Refuse),
        load(NUMBER),
    ];
    drafts.extend(search(&ranges(lists)).0);
    // Both answers stand at the end, once.
    let end = drafts.len();
    let steps = drafts.into_iter().enumerate();
    let mut program: Vec<Step> = steps.map(|(at, draft)| draft.step(end - at - 1)).collect();
    program.push(answer(REFUSE));
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

fn ranges(lists: &[&'static [Call]]) -> Vec<Range> {
    let calls = lists.iter().copied().flatten();
    let allowed: BTreeMap<u32, &'static [Only]> =
        calls.map(|call| (call.number as u32, call.only)).collect();
    let mut ranges = BTreeMap::from([(0, None)]);
    for (number, only) in allowed {
        ranges.insert(number, Some(only));
        ranges.insert(number + 1, None);
    }
    let mut ranges: Vec<Range> = ranges.into_iter().collect();
    let is_any = |(_, only): &Range| only.is_some_and(<[Only]>::is_empty);
    ranges.dedup_by(|range, before| is_any(range) && is_any(before));
    ranges
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

/// Finds the range that a number is in, by halves. Returns also where that begins.
fn search(ranges: &[Range]) -> (Vec<Draft>, Target) {
    let (lower, upper) = match ranges {
        [(_, None)] => return (Vec::new(), Target::Refuse),
        [(_, Some([]))] => return (Vec::new(), Target::Allow),
        [(_, Some(only))] => return (check(only), Target::Ahead(0)),
        _ => ranges.split_at(ranges.len() / 2),
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
            let yes = if is_last {
                Target::Allow
            } else {
                Target::Ahead(left)
            };
            let no = if left == 0 {
                Target::Refuse
            } else {
                Target::Ahead(0)
            };
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
