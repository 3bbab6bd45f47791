//! Filters as programs: what the kernel loads, and quickly; and what the compiler refuses to make.

use super::interpreter::successors;
use super::{X86_64, filter};
use std::collections::BTreeSet;
use wasm_sock_seccomp::lists::{Call, Condition, EGRESS};
use wasm_sock_seccomp::{Architecture, Variant, compile};

/// `BPF_MAXINSNS`.
const MOST_INSTRUCTIONS: usize = 4096;

/// `bpf_check_classic` asks this of a program.
#[test]
fn every_jump_leads_forward_to_an_instruction_and_every_instruction_is_reached() {
    for variant in Variant::ALL {
        let program = filter(variant);
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
    let lengths = Variant::ALL.map(|variant| filter(variant).len());
    let at_most = [96, 104, 96];
    let is_short = lengths.iter().zip(at_most).all(|(length, most)| *length <= most);
    assert!(is_short, "{lengths:?}, and {at_most:?} was enough");
}

/// Else the kernel evaluates the filter for each number there is when it is installed (`seccomp_is_const_allow`).
#[test]
fn the_kernel_gives_up_at_the_first_instruction() {
    let known = [0x20, 0x06, 0x05, 0x15, 0x35, 0x25, 0x45, 0x54]; // LD_ABS, RET, JA, JEQ, JGE, JGT, JSET, AND
    for variant in Variant::ALL {
        let first = filter(variant)[0].code;
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
        assert_eq!(names, used, "{}", architecture.name);
        assert!(Architecture::named(architecture.name).is_some());
    }
    assert!(Architecture::named("pdp11").is_none());
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
