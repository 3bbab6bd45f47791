//! Every filter, run for every number of a system call, against what the lists say; and what the lists are to say.

mod interpreter;
mod meaning;
mod program;

use interpreter::{Data, run};
use libc::sock_filter;
use std::iter;
use wasm_sock_seccomp::lists::{Call, Condition};
use wasm_sock_seccomp::{Architecture, Variant, compile};

/// Each architecture with `AUDIT_ARCH_*` of it, written out once more.
const ALL: [(Architecture, u32); 2] = [(Architecture::ALL[0], 0xc000_003e), (Architecture::ALL[1], 0xc000_00b7)];
const X86_64: Architecture = Architecture::ALL[0];

/// `__X32_SYSCALL_BIT`.
const X32: u32 = 0x4000_0000;
/// `SECCOMP_RET_ALLOW`.
const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO` with `EPERM`.
const REFUSE: u32 = 0x0005_0001;

/// The kernel has less than 500 calls (`NR_syscalls`).
const MOST_NUMBERS: u32 = 600;

/// Arguments that no filter is to care about, but where it has a condition.
const ARGUMENTS: [[u64; 6]; 3] = [
    [0; 6],
    [u64::MAX; 6],
    [0x0123_4567_89ab_cdef, 2, 0xffff_ffff_0000_0000, 4, 0x8000_0000, 1 << 40],
];

/// Every filter there is, with what it was made of.
fn filters() -> impl Iterator<Item = (Architecture, Variant, Vec<sock_filter>)> {
    let each = |it: Architecture| Variant::ALL.map(|variant| (it, variant, compile(&it, variant.lists())));
    Architecture::ALL.iter().flat_map(move |it| each(*it))
}

/// What the lists say, looked up in the simplest way.
struct Model {
    own: u32,
    calls: Vec<(u32, &'static [Condition])>,
}

impl Model {
    fn new(architecture: &Architecture, lists: &[&[Call]]) -> Self {
        let own = ALL.iter().find(|(it, _)| it.name == architecture.name).unwrap().1;
        let calls = lists.iter().copied().flatten();
        let calls = calls.filter(|call| !architecture.lacks.contains(&call.name));
        let entry = |call: &Call| (architecture.number(call.name).unwrap(), call.conditions);
        Self {
            own,
            calls: calls.map(entry).collect(),
        }
    }

    fn call(&self, number: u32, arguments: [u64; 6]) -> Data {
        Data {
            number,
            architecture: self.own,
            instruction_pointer: 0x0040_1234_5678_9abc,
            arguments,
        }
    }

    fn answer(&self, data: &Data) -> u32 {
        let holds = |condition: &Condition| {
            let argument = data.arguments[condition.argument as usize] as u32;
            condition.values.contains(&(argument & condition.mask)) != condition.excludes
        };
        let call = self.calls.iter().find(|(number, _)| *number == data.number);
        let is_allowed = call.is_some_and(|(_, conditions)| conditions.iter().all(holds));
        if data.architecture == self.own && is_allowed {
            ALLOW
        } else {
            REFUSE
        }
    }

    #[track_caller]
    fn compare(&self, program: &[sock_filter], data: &Data) {
        assert_eq!(run(program, data), self.answer(data), "{data:x?}");
    }

    /// Numbers that are taken for listed ones by a filter that forgets a bit of them.
    fn neighbours(&self) -> impl Iterator<Item = u32> {
        let bits = |number: u32| (0..u32::BITS).map(move |bit| number ^ 1 << bit);
        self.calls.iter().flat_map(move |(number, _)| bits(*number))
    }
}

/// Every number that a kernel has, each with the bit of x32, too, and what lies at the edges of 32 bits.
fn numbers() -> impl Iterator<Item = u32> {
    let edges = (0..u32::BITS).map(|bit| 1 << bit);
    let edges = edges.flat_map(|edge: u32| [edge - 1, edge, edge + 1, !edge, edge.wrapping_neg()]);
    let x32 = (0..=MOST_NUMBERS).map(|number| number | X32);
    (0..=MOST_NUMBERS).chain(x32).chain(edges).chain([u32::MAX])
}

/// Ours first, and then others: i386 and arm, which the same kernels run, the other one of ours, and all that differ in
/// a bit.
fn architectures(own: u32) -> impl Iterator<Item = u32> {
    let others = [0x4000_0003, 0x4000_0028, 0xc000_003e, 0xc000_00b7, 0, u32::MAX];
    let neighbours = (0..u32::BITS).map(move |bit| own ^ 1 << bit);
    iter::once(own).chain(others).chain(neighbours)
}

#[test]
fn every_number_is_answered_as_the_lists_say_and_other_architectures_are_refused() {
    for (architecture, variant, program) in filters() {
        let model = Model::new(&architecture, variant.lists());
        for number in numbers().chain(model.neighbours()) {
            for arguments in ARGUMENTS {
                model.compare(&program, &model.call(number, arguments));
            }
        }
        for (architecture, number) in
            architectures(model.own).flat_map(|it| numbers().map(move |number| (it, number)))
        {
            let data = Data {
                architecture,
                ..model.call(number, ARGUMENTS[0])
            };
            model.compare(&program, &data);
        }
    }
}

/// Values at and around those that a condition allows: each bit is another one, and what is not masked is set.
/// Each comes with several upper halves.
fn candidates(condition: &Condition) -> Vec<u64> {
    let mut lower = vec![0, 1, u32::MAX, condition.mask, !condition.mask];
    for value in condition.values {
        lower.extend([*value, value.wrapping_sub(1), value.wrapping_add(1)]);
        lower.push(value | !condition.mask);
        lower.extend((0..u32::BITS).map(|bit| value ^ 1 << bit));
    }
    let uppers = [0, 1, 0x8000_0000, 0xdead_beef, u64::from(u32::MAX)];
    let with = |upper: u64| lower.iter().map(move |lower| upper << 32 | u64::from(*lower));
    uppers.into_iter().flat_map(with).collect()
}

/// The same call with each of these as one of its arguments.
fn with_each(data: &Data, argument: u32, values: &[u64]) -> Vec<Data> {
    let mut calls = vec![*data; values.len()];
    for (call, value) in calls.iter_mut().zip(values) {
        call.arguments[argument as usize] = *value;
    }
    calls
}

#[test]
fn conditions_hold_at_their_values_and_not_around_them_whatever_the_upper_halves_are() {
    for (architecture, variant, program) in filters() {
        let model = Model::new(&architecture, variant.lists());
        for (number, conditions) in model.calls.iter().filter(|(_, conditions)| !conditions.is_empty()) {
            // All combinations, where there are several conditions.
            let mut calls = Vec::from(ARGUMENTS.map(|arguments| model.call(*number, arguments)));
            for condition in *conditions {
                let values = candidates(condition);
                let each = calls.iter().map(|data| with_each(data, condition.argument, &values));
                calls = each.flatten().collect();
            }
            for data in calls {
                model.compare(&program, &data);
            }
        }
    }
}

/// The compiler is right about lists that are not ours, too: one is changed some day.
#[test]
fn other_lists_are_compiled_as_they_say() {
    let all: Vec<Call> = Variant::ReachOut.lists().concat();
    let mut lists = vec![Vec::new()];
    for at in 0..all.len() {
        lists.push(vec![all[at]]);
        lists.push(all[..at].to_vec());
        lists.push([&all[..at], &all[at + 1..]].concat());
    }
    for conditional in [false, true] {
        let mut list = all.clone();
        list.retain(|call| call.conditions.is_empty() != conditional);
        lists.push(list);
    }
    for (architecture, list) in lists
        .iter()
        .flat_map(|list| Architecture::ALL.iter().map(move |it| (it, list)))
    {
        let (program, model) = (compile(architecture, &[list]), Model::new(architecture, &[list]));
        for number in numbers() {
            model.compare(&program, &model.call(number, ARGUMENTS[0]));
        }
    }
}

#[test]
fn a_variant_stands_at_its_number() {
    // The host has its filters in an array.
    for (index, variant) in Variant::ALL.into_iter().enumerate() {
        assert_eq!(variant as usize, index);
    }
}
