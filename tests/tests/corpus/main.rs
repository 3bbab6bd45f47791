//! Programs that were not written for wasm-sock do over a socket what they do in Wasmtime's own runner.
//!
//! `programs.toml` tells which programs there are, where they come from and how they are run;
//! `fetch` brings them, and `reference.py` lets Wasmtime run them. What the client receives, the
//! lines on stderr, the exit code and the files in granted directories are compared byte for byte.

mod outcome;
mod program;

use program::{Program, programs};

/// A test for each program, and the list of them.
macro_rules! corpus {
    ($($(#[$attribute:meta])* $test:ident: $program:literal;)*) => {
        const TESTED: &[&str] = &[$($program),*];
        $(
            #[test]
            $(#[$attribute])*
            fn $test() {
                Program::named($program).check();
            }
        )*
    };
}

corpus! {
    cpython_runs_scripts_and_works_with_files: "cpython";
    quickjs_runs_scripts_and_works_with_files: "quickjs";
    what_javy_made_of_javascript_answers: "javy";
    what_tinygo_compiled_starts_and_ends: "tinygo";
    boolector_solves_what_it_is_sent: "boolector";
    resvg_draws_pictures: "resvg";
    usvg_simplifies_pictures: "usvg";
    svg_flatten_converts_pictures: "svg-flatten";
    the_gnu_assembler_assembles: "avr-as";
    the_gnu_linker_links: "avr-ld";
    objcopy_copies_objects: "avr-objcopy";
    #[ignore = "compiling it takes a minute: `make corpus`"]
    gcc_compiles: "gcc";
    #[ignore = "its package has 75 MB: `make corpus`"]
    gofmt_formats: "gofmt";
    #[ignore = "its package has 36 MB: `make corpus`"]
    a_program_that_throws_exceptions_ends_as_it_does_elsewhere: "ecppll";
    #[ignore = "compiling it takes minutes: `make corpus`"]
    yosys_synthesises_and_catches_its_exceptions: "yosys";
    #[ignore = "it reads what yosys makes: `make corpus`"]
    nextpnr_places_and_routes: "nextpnr";
}

#[test]
fn a_compilation_that_takes_more_than_a_second_is_told_of() {
    Program::named("cpython").is_told_of_when_compiled();
}

#[test]
fn every_program_of_the_corpus_has_a_test() {
    let programs = programs();
    let mut names: Vec<&str> = programs.iter().map(|p| p.name.as_str()).collect();
    let mut tested = TESTED.to_vec();
    names.sort_unstable();
    tested.sort_unstable();
    assert_eq!(tested, names);
}
