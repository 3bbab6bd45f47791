"""What a host does when it starts and when it serves, for the compiler and the linker. Part of `make profile`.

usage: python3 bench/profile.py count HOST ARTIFACTS PROFILE
       python3 bench/profile.py order HOST ARTIFACTS SCRIPT

`count` writes how often each branch was taken (PROFILE, for `llvm-profdata`), of a HOST that counts
(`-C profile-generate`). `order` writes a linker SCRIPT that puts the functions of a cold start side by side, of
a HOST with its symbols. ARTIFACTS is a folder of compiled guests. Needs strace, and valgrind for `order`.
"""

import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

# The functions of the first come first: what is said of a module also holds for a component, but not the
# other way round.
COLD = ["p1-hello", "p2-hello", "p2-http-hello"]
STREAMS = ["p1-echo", "p2-echo"]
DATAGRAMS = ["p1-echo"]
HTTP = {"p2-http-hello": "/", "p3-http-actor": "/hello"}

# As many as it takes to make what is done for each of them outweigh what is done once.
COLD_STARTS = 4
TURNS = 500
CLIENTS = 16

# Instances of a generic function that never run are taken along only if they have few bytes: then it has
# its place whatever the hash in its name.
MOST_WASTED = 6000

HEADER = """\
/* The binary that is shipped aborts when it panics: nobody unwinds it. */
SECTIONS { /DISCARD/ : { *(EXCLUDE_FILE(*crtbegin*.o *crtend*.o) .eh_frame) *(.gcc_except_table*) } }
INSERT BEFORE .text;

/* The functions that a cold start runs, side by side: a page fault maps 64 KiB around an address, and
   what is scattered over 5 MiB needs three times as many. Names that nothing has any more do no harm.
   Made by `make profile`. */
SECTIONS
{
  .text.cold_start :
  {
    *crt1.o(.text)
"""
FOOTER = """\
  }
}
INSERT BEFORE .text;
"""


@contextmanager
def started(host, artifact, listener, tool="", variable="", spared=""):
    """A host that serves `listener` until it is idle. It confines itself to nothing, as it could not write
    its profile any more."""
    os.set_inheritable(listener.fileno(), True)
    spared = f"seccomp,landlock_restrict_self{spared}"
    script = f"""
        exec 3<&{listener.fileno()}
        exec strace -f --seccomp-bpf -o /dev/null -e trace={spared} -e inject={spared}:retval=0 sh -c '
            export LISTEN_FDS=1 LISTEN_PID=$$ {variable}
            exec {tool} {host} host --module {artifact} --idle-timeout 1s'"""
    process = subprocess.Popen(["sh", "-c", script], close_fds=False, stderr=subprocess.DEVNULL)
    yield
    if process.wait(timeout=60):
        sys.exit(f"{host} host --module {artifact}: failed")


def listening(kind=socket.SOCK_STREAM):
    listener = socket.socket(type=kind)
    listener.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        listener.listen(128)
    return listener


def knock(address):
    """A connection with something to read for guests of all kinds."""
    client = socket.create_connection(address, timeout=60)
    client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return client


def answered(client):
    if not client.recv(1):
        sys.exit("a connection was closed without an answer")
    client.close()


def connect_often(address):
    for _ in range(TURNS):
        for client in [knock(address) for _ in range(CLIENTS)]:
            client.shutdown(socket.SHUT_WR)
            answered(client)


def send_often(address):
    clients = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(CLIENTS)]
    for client in clients:
        client.settimeout(60)
        client.connect(address)
    for _ in range(TURNS):
        for client in clients:
            client.send(b"hello\n")
        for client in clients:
            client.recv(100)


def request_often(address, path):
    clients = [http.client.HTTPConnection(*address, timeout=60) for _ in range(CLIENTS)]
    for _ in range(TURNS):
        for client in clients:
            client.request("GET", path)
        for client in clients:
            response = client.getresponse()
            response.read()
            if response.status != 200:
                sys.exit(f"{path}: {response.status}")
    for client in clients:
        client.close()


def count(host, artifacts, profile):
    with tempfile.TemporaryDirectory() as folder:
        # Each process has a file of its own.
        variable = f"LLVM_PROFILE_FILE={folder}/%p.profraw"

        def run(guest, serve, kind=socket.SOCK_STREAM):
            listener = listening(kind)
            with started(host, artifacts / f"{guest}.cwasm", listener, variable=variable):
                serve(listener.getsockname())

        for guest in COLD * COLD_STARTS:
            run(guest, lambda address: answered(knock(address)))
        for guest in STREAMS:
            run(guest, connect_often)
        for guest in DATAGRAMS:
            run(guest, send_often, socket.SOCK_DGRAM)
        for guest, path in HTTP.items():
            run(guest, lambda address: request_often(address, path))
        merge = [llvm_profdata(), "merge", f"--output={profile}", *Path(folder).glob("*.profraw")]
        subprocess.run(merge, check=True)


def llvm_profdata():
    sysroot = subprocess.check_output(["rustc", "--print", "sysroot"], text=True).strip()
    return next(Path(sysroot).rglob("llvm-profdata"))


def ran(host, artifact, folder):
    """The names of all functions that run for one connection, each once."""
    profile = Path(folder, "profile")
    tool = f"valgrind -q --tool=callgrind --demangle=no --callgrind-out-file={profile}"
    listener = listening()
    # Callgrind does not survive timer signals.
    with started(host, artifact, listener, tool=tool, spared=",setitimer"):
        answered(knock(listener.getsockname()))
    names = re.findall(r"^c?fn=\(\d+\) (.+)", profile.read_text(), re.MULTILINE)
    # What callgrind says for what calls `main`.
    names = [name.replace("(below main)", "__libc_start_main") for name in names]
    return dict.fromkeys(re.sub(r"'\d+$", "", name) for name in names)


def functions(program):
    """Where each function lies, and its size, by its name. One may have several names."""
    found = {}
    symbols = subprocess.check_output(["nm", "-S", program], text=True)
    for line in symbols.splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] in "tTwW":
            found[fields[3]] = int(fields[0], 16), int(fields[1], 16)
    return found


def without_hash(name):
    """A pattern that covers all instances of a generic function."""
    return re.sub(r"17h[0-9a-f]{16}E.*$", "17h*", name)


def order(host, artifacts, script):
    found = functions(host)
    names, total = defaultdict(list), defaultdict(int)
    for name, (address, size) in found.items():
        names[address].append(name)
        total[without_hash(name)] += size
    run = {}
    with tempfile.TemporaryDirectory() as folder:
        for guest in COLD:
            for name in ran(host, artifacts / f"{guest}.cwasm", folder):
                if name in found:
                    run |= dict.fromkeys(names[found[name][0]])
    used = defaultdict(int)
    for name in run:
        used[without_hash(name)] += found[name][1]

    def pattern(name):
        any_instance = without_hash(name)
        return any_instance if total[any_instance] - used[any_instance] <= MOST_WASTED else name

    hot = dict.fromkeys(map(pattern, run))
    # The compiler says in a section's name how often it expects a function to run.
    text = "".join(f"    *(.text.{name} .text.hot.{name} .text.unlikely.{name})\n" for name in hot)
    script.write_text(HEADER + text + FOOTER)
    size = sum(size for _, size in {found[name] for name in run})
    print(f"{len(hot)} functions, {size // 1024} KiB")


verb, host, artifacts, result = sys.argv[1], *map(Path.absolute, map(Path, sys.argv[2:]))
{"count": count, "order": order}[verb](host, artifacts, result)
