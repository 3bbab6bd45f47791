#!/usr/bin/env python3
"""Which system calls a host for ARM makes once it has confined itself, against those that its filter allows.

QEMU has no seccomp(2) for the programs that it runs, so no end-to-end test there notices a call that the filter forgets.
But it tells every call (-strace). Usage: emulated_calls.py QEMU FOLDER, with the programs and guests in FOLDER.
"""

import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile

# What QEMU calls otherwise than the kernel, or does not know.
NAMES = {"fadvise": "fadvise64", "sendfile64": "sendfile", "fstatat64": "newfstatat", "437": "openat2", "439": "faccessat2"}
CALL = re.compile(r"^(?:\d+ )?([a-z_][a-z0-9_]*)\(")
HTTP = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
GUESTS = [("p1/hello", b""), ("p2/hello", b""), ("p2/http-hello", HTTP), ("p3/http-actor", HTTP), ("p2/counter", HTTP)]


def allowed(host):
    output = subprocess.run([*host, "host", "--print-sandbox"], capture_output=True, text=True, check=True).stdout
    lines = output.partition("\nsystem calls")[2].splitlines()[1:]
    return {word.rstrip("*") for line in lines for word in line.split() if not line.startswith("  * ")} - {"and"}


def calls(qemu, folder, module, request):
    """The names of the calls after seccomp(2), or the number of one without."""
    listener = socket.create_server(("127.0.0.1", 0))
    with tempfile.TemporaryDirectory() as state, tempfile.TemporaryFile("w+", errors="replace") as log:
        environment = {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "guest", "STATE_DIRECTORY": state}
        for name in ("CONFIGURATION_DIRECTORY", "CACHE_DIRECTORY"):
            environment[name] = str(pathlib.Path(state, name))
        pid = os.fork()
        if pid == 0:
            os.dup2(listener.fileno(), 3)
            os.set_inheritable(3, True)  # dup2(2) does not, if it is 3 already
            os.dup2(log.fileno(), 2)
            environment["LISTEN_PID"] = str(os.getpid())
            program = str(folder / "wasm-sock")
            os.execve(qemu, [qemu, "-strace", program, "host", "--module", str(module)], environment)
        for _ in range(3):
            with socket.create_connection(listener.getsockname()) as client:
                client.sendall(request)
                client.settimeout(60)
                answer = b"".join(iter(lambda: client.recv(65536), b""))
                assert answer, f"{module}: no answer"
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        log.seek(0)
        text = log.read()
    assert status == 0, f"{module}: the host ended with {status}\n{text[-2000:]}"
    lines = text.splitlines()
    confined = [at for at, line in enumerate(lines) if re.search(r"\bseccomp\(|Unknown syscall 277", line)]
    assert confined, f"{module}: the host does not confine itself\n{text[-2000:]}"
    found = {match[1] for line in lines[confined[-1] + 1 :] if (match := CALL.match(line))}
    found |= set(re.findall(r"Unknown syscall (\d+)", "\n".join(lines[confined[-1] + 1 :])))
    return {NAMES.get(name, name) for name in found}


def main():
    qemu, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    may = allowed([qemu, str(folder / "wasm-sock")])
    assert "read" in may and "open" not in may, may
    seen, status = set(), 0
    with tempfile.TemporaryDirectory() as modules:
        for guest, request in GUESTS:
            module = pathlib.Path(modules, guest.replace("/", "-") + ".cwasm")
            source = folder / "guests" / f"{guest}.wasm"
            subprocess.run([qemu, str(folder / "wasm-sock-compile"), str(source), "-o", str(module)], check=True)
            made = calls(qemu, folder, module, request)
            seen |= made
            for what in sorted(made - may):
                print(f"{guest}: the filter does not allow {what}", file=sys.stderr)
                status = 1
    print(f"{len(seen)} system calls, of {len(may)} that are allowed: {' '.join(sorted(seen))}")
    return status


sys.exit(main())
