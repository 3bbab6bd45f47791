"""What a host does when it starts and when it serves, for the compiler and the linker. Part of `make profile`.

usage: python3 tools/pgo.py count HOST ARTIFACTS PROFILE
       python3 tools/pgo.py order HOST ARTIFACTS SCRIPT

`count` writes how often each branch was taken (PROFILE, for `llvm-profdata`), of a HOST that counts
(`-C profile-generate`). `order` writes a linker SCRIPT that puts the functions of a cold start side by side, and
the constants that it reads, of a HOST with its symbols and the linker's map beside it (HOST.map). ARTIFACTS is a
folder of compiled guests. Needs strace, and valgrind for `order`.
"""

import bisect
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

/* The functions that a cold start runs, side by side, and the constants that it reads: a page fault maps
   64 KiB around an address, and what is scattered over 6 MiB needs three times as many. Names that nothing has
   any more do no harm. Made by `make profile`. */
"""
SECTION = """\
SECTIONS
{{
  .{kind}.cold_start :
  {{
{content}  }}
}}
INSERT BEFORE .{kind};
"""

# Constants of all functions, which the linker has merged: those by size, which nearly all need, and the strings.
MERGED = "*(.rodata.cst*)", "*(.rodata.str*)"


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


def watched(host, artifact, tool, then=lambda: None):
    """Serves one connection under one of valgrind's tools; `then` is called when it is answered."""
    listener = listening()
    # Callgrind does not survive timer signals.
    with started(host, artifact, listener, tool=f"valgrind -q --tool={tool}", spared=",setitimer"):
        answered(knock(listener.getsockname()))
        then()


def ran(host, artifact, folder):
    """The names of all functions that run for one connection until it is answered, and after that."""
    profile = Path(folder, "profile")
    dump = ["callgrind_control", "--dump"]
    watched(
        host,
        artifact,
        f"callgrind --demangle=no --callgrind-out-file={profile}",
        then=lambda: subprocess.run(dump, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
    )
    for part in profile.with_suffix(".1"), profile:
        names = re.findall(r"^c?fn=\(\d+\) (.+)", part.read_text(), re.MULTILINE)
        # What callgrind says for what calls `main`.
        names = [name.replace("(below main)", "__libc_start_main") for name in names]
        yield [re.sub(r"'\d+$", "", name) for name in names]


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


def hot_functions(host, artifacts, folder):
    found = functions(host)
    names, total = defaultdict(list), defaultdict(int)
    for name, (address, size) in found.items():
        names[address].append(name)
        total[without_hash(name)] += size
    # What runs when the answer has left comes last.
    run, late = {}, {}
    for artifact in artifacts:
        for into, ran_names in zip((run, late), ran(host, artifact, folder)):
            for name in ran_names:
                if name in found:
                    into |= dict.fromkeys(names[found[name][0]])
    run |= late
    used = defaultdict(int)
    for name in run:
        used[without_hash(name)] += found[name][1]

    def pattern(name):
        any_instance = without_hash(name)
        return any_instance if total[any_instance] - used[any_instance] <= MOST_WASTED else name

    hot = dict.fromkeys(map(pattern, run))
    print(f"{len(hot)} functions, {sum(size for _, size in {found[name] for name in run}) >> 10} KiB")
    # The compiler says in a section's name how often it expects a function to run.
    return [f"*(.text.{name} .text.hot.{name} .text.unlikely.{name})" for name in hot]


def constants(linker_map):
    """Where each piece of read-only data lies, its size, and the name of its section, in order."""
    text = Path(linker_map).read_text().partition("\n.rodata")[2].partition("\n.rodata1")[0]
    piece = r"^ (\.rodata\S*)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+) "
    found = re.findall(piece, text, re.MULTILINE)
    return sorted((int(address, 16), int(size, 16), name) for name, address, size in found)


def read(host, artifact, folder):
    """The addresses that are read for one connection."""
    log = Path(folder, "reads")
    watched(host, artifact, f"lackey --trace-mem=yes --log-file={log}")
    with log.open(errors="replace") as lines:
        return {int(line[3:].partition(",")[0], 16) for line in lines if line.startswith((" L ", " M "))}


def hot_constants(host, artifacts, folder):
    all_of_them = constants(f"{host}.map")
    beginnings = [address for address, _, _ in all_of_them]
    hot = {}
    for artifact in artifacts:
        for address in sorted(read(host, artifact, folder)):
            index = bisect.bisect(beginnings, address) - 1
            begin, size, _ = all_of_them[index]
            if index >= 0 and address < begin + size:
                hot[all_of_them[index]] = None
    print(f"{len(hot)} constants, {sum(size for _, size, _ in hot) >> 10} KiB")
    by_size, strings = MERGED
    plain = [name for _, _, name in hot if not re.match(r"\.rodata(\.cst|\.str|$)", name)]
    return [by_size, *(f"*({name})" for name in plain), strings]


def order(host, artifacts, script):
    artifacts = [artifacts / f"{guest}.cwasm" for guest in COLD]
    with tempfile.TemporaryDirectory() as folder:
        hot = {
            "text": ["*crt1.o(.text)", *hot_functions(host, artifacts, folder)],
            "rodata": hot_constants(host, artifacts, folder),
        }
    script.write_text(HEADER + "".join(
        SECTION.format(kind=kind, content="".join(f"    {pattern}\n" for pattern in patterns))
        for kind, patterns in hot.items()
    ))


verb, host, artifacts, result = sys.argv[1], *map(Path.absolute, map(Path, sys.argv[2:]))
{"count": count, "order": order}[verb](host, artifacts, result)
