//! Filters as programs: what the kernel loads, and quickly; and what the compiler refuses to make.

use super::interpreter::successors;
use super::{X86_64, filters};
use std::collections::BTreeSet;
use std::fs;
use wasm_sock_seccomp::lists::{Call, Condition, EGRESS};
use wasm_sock_seccomp::{Architecture, Variant, compile};

/// `BPF_MAXINSNS`.
const MOST_INSTRUCTIONS: usize = 4096;

/// `bpf_check_classic` asks this of a program.
#[test]
fn every_jump_leads_forward_to_an_instruction_and_every_instruction_is_reached() {
    for (_, variant, program) in filters() {
        assert!(program.len() <= MOST_INSTRUCTIONS);
        let mut reached = BTreeSet::from([0]);
        for at in 0..program.len() {
            assert!(reached.contains(&at), "{variant:?}: nothing leads to {at}");
            for next in successors(&program, at).into_iter().flatten() {
                assert!(at < next && next < program.len(), "{variant:?}: from {at} to {next}");
                reached.insert(next);
            }
        }
        let last = program.len() - 1;
        assert_eq!(
            successors(&program, last),
            None,
            "{variant:?} does not end with an answer"
        );
    }
}

/// Each instruction is translated when a filter is installed, at every cold start. A list may have good reason to
/// grow: then raise the numbers here.
#[test]
fn no_filter_grows_unnoticed() {
    let lengths: Vec<_> = filters().map(|(_, _, program)| program.len()).collect();
    let at_most = [96, 104, 96, 96, 104, 96];
    let is_short = lengths.iter().zip(at_most).all(|(length, most)| *length <= most);
    assert!(is_short, "{lengths:?}, and {at_most:?} was enough");
}

/// Else the kernel evaluates the filter for each number there is when it is installed (`seccomp_is_const_allow`).
#[test]
fn the_kernel_gives_up_at_the_first_instruction() {
    let known = [0x20, 0x06, 0x05, 0x15, 0x35, 0x25, 0x45, 0x54]; // LD_ABS, RET, JA, JEQ, JGE, JGT, JSET, AND
    for (_, variant, program) in filters() {
        let first = program[0].code;
        assert!(!known.contains(&first), "{variant:?}: {first:#x}");
    }
}

#[test]
fn conditions_can_hold() {
    for call in Variant::ALL.iter().flat_map(|variant| variant.lists().concat()) {
        for Condition {
            argument, mask, values, ..
        } in call.conditions
        {
            assert!(*argument < 6, "{}", call.name);
            assert!(values.iter().all(|value| value & !mask == 0), "{}", call.name);
        }
    }
}

#[test]
fn a_table_has_each_number_once_and_none_that_no_list_needs() {
    let used = Variant::ALL.iter().flat_map(|variant| variant.lists().concat());
    let used: BTreeSet<_> = used.chain(EGRESS.to_vec()).map(|call| call.name.to_owned()).collect();
    for architecture in Architecture::ALL {
        let names: BTreeSet<_> = architecture
            .calls
            .iter()
            .map(|(name, _)| name.replace("SYS_", ""))
            .collect();
        let numbers: BTreeSet<_> = architecture.calls.iter().map(|(_, number)| number).collect();
        assert_eq!(numbers.len(), architecture.calls.len(), "{}", architecture.name);
        let lacks: BTreeSet<_> = architecture.lacks.iter().copied().map(str::to_owned).collect();
        assert!(names.is_disjoint(&lacks), "{}", architecture.name);
        assert_eq!(&names | &lacks, used, "{}", architecture.name);
        assert!(Architecture::named(architecture.name).is_some());
    }
    assert!(Architecture::named("pdp11").is_none());
}

/// Debian's `linux-libc-dev` has the kernel's own table, on whatever machine: aarch64 has no other one.
#[test]
fn the_numbers_of_aarch64_are_those_of_the_kernels_header() {
    let path = "/usr/include/asm-generic/unistd.h";
    let Ok(header) = fs::read_to_string(path) else {
        println!("skipped: there is no {path}");
        return;
    };
    let number = |name: &str| {
        let mut lines = header.lines().filter_map(|line| line.strip_prefix("#define __NR"));
        let mut words = lines.find_map(|line| {
            let (prefix, rest) = line.split_once('_')?;
            let mut words = rest.split_whitespace();
            // `__NR3264_fstat` is that of 64 bits.
            (matches!(prefix, "" | "3264") && words.next() == Some(name)).then_some(words)
        })?;
        words.next()?.parse::<u32>().ok()
    };
    let aarch64 = Architecture::named("aarch64").unwrap();
    for (name, expected) in aarch64.calls {
        let name = name.strip_prefix("SYS_").unwrap();
        // The header has the two names of 32 bits.
        let known = number(name).or_else(|| number(name.strip_prefix("new").unwrap_or(name)));
        assert_eq!(known, Some(*expected), "{name}");
    }
    for name in aarch64.lacks {
        assert_eq!(number(name), None, "{name}");
    }
}

fn compile_one(name: &'static str, conditions: &'static [Condition]) {
    compile(&X86_64, &[&[Call { name, conditions }]]);
}

const fn argument(argument: u32, values: &'static [u32]) -> Condition {
    Condition {
        argument,
        mask: u32::MAX,
        values,
        excludes: false,
    }
}

#[test]
#[should_panic = "x86_64 has no number for raed"]
fn a_call_that_does_not_exist_is_not_compiled() {
    compile_one("raed", &[]);
}

#[test]
#[should_panic = "read is listed twice"]
fn a_call_that_is_listed_twice_is_not_compiled() {
    let read = [Call {
        name: "read",
        conditions: &[],
    }];
    compile(&X86_64, &[&read, &read]);
}

#[test]
#[should_panic = "a condition allows no value"]
fn a_condition_that_cannot_hold_is_not_compiled() {
    compile_one("read", const { &[argument(0, &[])] });
}

#[test]
#[should_panic = "a system call has six arguments"]
fn a_seventh_argument_is_not_compiled() {
    compile_one("read", const { &[argument(6, &[0])] });
}

#[test]
#[should_panic = "a jump of 255 instructions at most"]
fn a_list_that_is_too_long_is_not_compiled() {
    compile_one("read", const { &[argument(0, &[0; 300])] });
}
