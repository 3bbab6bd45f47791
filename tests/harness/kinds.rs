//! One test for each kind of guest.

/// Makes tests of a function that takes a [`Kind`](crate::Kind): one for each kind of guest in
/// [`BOTH`](crate::BOTH), [`HTTP`](crate::HTTP) or [`ALL`](crate::ALL). With `each_kind! { HTTP: a_sentence }` above
/// `fn a_sentence(kind: Kind)` there are the tests `a_sentence::p2` and `a_sentence::p3`.
///
/// A loop over the kinds in one test would leave out the rest when the first fails, and could not be filtered.
#[macro_export]
macro_rules! each_kind {
    (BOTH: $name:ident) => {
        $crate::each_kind! { [p1: P1, p2: P2] $name }
    };
    (HTTP: $name:ident) => {
        $crate::each_kind! { [p2: P2, p3: P3] $name }
    };
    (ALL: $name:ident) => {
        $crate::each_kind! { [p1: P1, p2: P2, p3: P3] $name }
    };
    ([$($test:ident: $kind:ident),*] $name:ident) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    super::$name($crate::Kind::$kind);
                }
            )*
        }
    };
}
