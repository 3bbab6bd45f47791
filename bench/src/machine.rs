//! What kind of machine this is. Neither its name nor where anything lies on it.

use std::fs;
use std::process::Command;

/// The day, the processor and the kernel, in one line.
pub fn origin() -> String {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let (day, kernel) = (say("date", &["-u", "+%F"]), say("uname", &["-r"]));
    format!("{day} · {} × {processors} · Linux {kernel}", processor())
}

fn say(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map_or(Vec::new(), |output| output.stdout);
    String::from_utf8_lossy(&text).trim().into()
}

/// The processor's model, without decoration.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    name.replace("(R)", "").replace("(TM)", "")
}
