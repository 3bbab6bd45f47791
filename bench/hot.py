"""Writes host/hot.ld: the functions of a cold start, so that the linker puts them side by side.

usage: python3 bench/hot.py SYMBOLS ARTIFACT...

SYMBOLS is a `wasm-sock` with its symbols (`CARGO_PROFILE_RELEASE_STRIP=none`), each ARTIFACT a guest that
is run once in it, under callgrind. The functions of the first guest come first: what is said of a module
also holds for a component, but not the other way round. Needs valgrind and strace.
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

# A name without its hash covers all instances of a generic function. Bytes that never run are taken
# along only if they are few.
MOST_WASTED = 6000

HEADER = """\
/* The binary that is shipped aborts when it panics: nobody unwinds it. */
SECTIONS { /DISCARD/ : { *(EXCLUDE_FILE(*crtbegin*.o *crtend*.o) .eh_frame) *(.gcc_except_table*) } }
INSERT BEFORE .text;

/* The functions that a cold start runs, side by side: a page fault maps 64 KiB around an address, and
   what is scattered over 5 MiB needs three times as many. Names that nothing has any more do no harm.
   Made by bench/hot.py. */
SECTIONS
{
  .text.cold_start :
  {
"""
FOOTER = """\
  }
}
INSERT BEFORE .text;
"""


def pattern(name):
    return re.sub(r"17h[0-9a-f]{16}E.*$", "17h*", name)


def sizes(program):
    found = {}
    symbols = subprocess.check_output(["nm", "-S", program], text=True)
    for line in symbols.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] in "tTwW":
            found[fields[3]] = int(fields[1], 16)
    return found


def functions(program, artifact, folder):
    """The names of all functions that run for one connection, each once."""
    listener = socket.create_server(("127.0.0.1", 0))
    os.set_inheritable(listener.fileno(), True)
    client = socket.create_connection(listener.getsockname(), timeout=60)
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    profile = Path(folder, "profile")
    # Callgrind does not survive timer signals.
    script = f"""
        exec 3<&{listener.fileno()}
        exec strace -o /dev/null -e trace=setitimer,seccomp,landlock_restrict_self \
          -e inject=setitimer,seccomp,landlock_restrict_self:retval=0 sh -c '
            export LISTEN_FDS=1 LISTEN_PID=$$
            exec valgrind -q --tool=callgrind --demangle=no --callgrind-out-file={profile} \\
                {program} host --module {artifact} --idle-timeout 1s'"""
    host = subprocess.Popen(["sh", "-c", script], close_fds=False, stderr=subprocess.DEVNULL)
    if not client.recv(1):
        sys.exit(f"{artifact} did not answer")
    client.close()
    host.wait(timeout=60)
    names = re.findall(r"^c?fn=\(\d+\) (\S+)", profile.read_text(), re.MULTILINE)
    return dict.fromkeys(re.sub(r"'\d+$", "", name) for name in names)


def main():
    program, artifacts = os.path.abspath(sys.argv[1]), sys.argv[2:]
    size = sizes(program)
    run = {}
    with tempfile.TemporaryDirectory() as folder:
        for artifact in artifacts:
            run |= functions(program, os.path.abspath(artifact), folder)
    total, used = defaultdict(int), defaultdict(int)
    for name in size:
        total[pattern(name)] += size[name]
    for name in run.keys() & size.keys():
        used[pattern(name)] += size[name]
    hot = [
        name
        for name in dict.fromkeys(map(pattern, run))
        if used[name] and total[name] - used[name] <= MOST_WASTED
    ]
    text = "".join(f"    *(.text.{name})\n" for name in hot)
    Path(__file__).parent.parent.joinpath("host/hot.ld").write_text(HEADER + text + FOOTER)
    print(f"{len(hot)} functions, {sum(total[name] for name in hot) // 1024} KiB")


main()
