//! The names of the fields that lines may have.

use super::line::Field;

macro_rules! fields {
    ($($name:ident $json:literal;)*) => {
        $(pub const $name: Field = Field {
            journal: concat!("WASM_SOCK_", stringify!($name)),
            json: $json,
        };)*
    };
}

fields! {
    HANDLER "handler";
    PEER "peer";
    CONNECTION "connection";
    REQUEST "request";
    STREAM "stream";
    OUTCOME "outcome";
    EXIT_CODE "exit_code";
    BYTES_IN "bytes_in";
    BYTES_OUT "bytes_out";
    DURATION_USEC "duration_usec";
    FIRST_BYTE_USEC "first_byte_usec";
    CPU_USEC "cpu_usec";
    MEMORY_PEAK "memory_peak";
    METHOD "method";
    PATH "path";
    STATUS "status";
    SAMPLE "sample";
    BACKTRACE "backtrace";
}
