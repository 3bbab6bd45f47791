"""What systemd adds, under a real one: run it in tools/systemd-box (`make bench-units`).

From connect to the first byte: each service is started cold, in alternation with the others: a static C program in
a unit with nothing in it, and in the shipped unit; the host in both, and with units/hardened.conf; and parked, with
three kinds of guests. Median and p10 in milliseconds. And what a socket costs that sleeps, of a thousand; how long the generator and `wasm-sock list`
take for a thousand handlers, and `wasm-sock install` beyond systemd's own reload. Exits with 1 if a promise of
SPECIFICATION.md is broken.
"""

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SYSTEM = Path("/etc/systemd/system")
HANDLERS = Path("/etc/wasm-sock/handlers.d")
MODULES = Path("/var/lib/wasm-sock/modules")
GENERATOR = "/usr/lib/systemd/system-generators/wasm-sock-generator"
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
HOST = "/usr/bin/wasm-sock host --idle-timeout 0"
IDLE_SOCKETS = 1000

BARE_C, SHIPPED_C, SHIPPED = "static C, bare unit", "static C, shipped unit", "wasm-sock, shipped unit"
PARKED = {
    "parked, core module": "p1/hello",
    "parked, component": "p2/hello",
    "parked, HTTP component": "p2/http-hello",
}
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def service(name, text):
    (SYSTEM / f"{name}.service").write_text(text)


def main():
    run("make", "install", "PREFIX=/usr")
    # Where every user may run it.
    run("install", "-m", "755", "build/baseline", "/usr/bin/baseline")
    idle = idle_socket()
    times = cold_starts()
    print(f"{'connect to first byte':28} p10 ms  median ms  x static C")
    medians = {what: statistics.median(taken) for what, taken in times.items()}
    for what, taken in times.items():
        median, p10 = medians[what], sorted(taken)[len(taken) // 10]
        print(f"{what:28} {p10:6.1f} {median:10.1f} {median / medians[BARE_C]:11.2f}")
    measured = {
        "shipped unit, from connect to the first byte": medians[SHIPPED] / medians[SHIPPED_C],
        **{f"{what}, from connect to the first byte": medians[what] for what in PARKED},
        "memory of an idle socket": idle,
        "install, to the answered knock, beyond a reload of systemd": install(),
        **thousand_handlers(),
    }
    sys.exit(0 if keeps(measured) else 1)


def keeps(measured):
    """Prints each promise under systemd; whether all are kept."""
    text = Path("SPECIFICATION.md").read_text()
    table = text.split("| promise, under systemd |", 1)[1].split("\n\n")[0]
    kept = True
    for what, bound, unit in re.findall(r"^\| ([^|]+) \| ≤ ([\d.]+) ([^|]+) \|", table, re.MULTILINE):
        value = measured.pop(what)
        verdict = "" if value <= float(bound) else "  BROKEN"
        print(f"{what}: {value:.2f}, promised: at most {bound} {unit}{verdict}")
        kept = kept and not verdict
    if measured:
        sys.exit(f"SPECIFICATION.md does not promise: {', '.join(measured)}")
    return kept


def memory():
    """What systemd and the kernel hold, in KiB: PID 1 (PSS), and the kernel's own objects."""
    rollup = Path("/proc/1/smaps_rollup").read_text()
    slab = Path("/proc/meminfo").read_text()
    own = int(re.search(r"^Pss: *(\d+)", rollup, re.MULTILINE)[1])
    kernel = int(re.search(r"^SUnreclaim: *(\d+)", slab, re.MULTILINE)[1])
    return own, kernel


def idle_socket():
    """KiB of each of a thousand listening sockets to which no client has connected."""
    time.sleep(1)
    own, kernel = memory()
    names = [f"idle{number}.socket" for number in range(IDLE_SOCKETS)]
    for number, name in enumerate(names):
        (SYSTEM / name).write_text(
            f"[Socket]\nListenStream=127.0.0.1:{20000 + number}\nService=wasm-sock.service\n"
        )
    run("systemctl", "daemon-reload")
    run("systemctl", "start", *names)
    time.sleep(1)
    new_own, new_kernel = memory()
    own, kernel = (new_own - own) / IDLE_SOCKETS, (new_kernel - kernel) / IDLE_SOCKETS
    print(f"an idle socket: no process; {own:.1f} KiB in systemd, {kernel:.1f} KiB in the kernel")
    run("systemctl", "stop", *names)
    for name in names:
        (SYSTEM / name).unlink()
    run("systemctl", "daemon-reload")
    return own + kernel


def milliseconds(*command):
    began = time.perf_counter()
    run(*command)
    return (time.perf_counter() - began) * 1000


def install():
    """Seconds of `install` of a compiled module, in turn with what systemd's reload takes of them."""
    compiled = "/tmp/bench-install.cwasm"
    run("build/wasm-sock", "compile", "build/guests/p2/hello.wasm", "-o", compiled)
    beyond = []
    for _ in range(10):
        reload = milliseconds("systemctl", "daemon-reload")
        took = milliseconds("wasm-sock", "install", compiled, "--name", "bench-install", "--listen", "127.0.0.1:18999")
        beyond.append((took - reload) / 1000)
        run("wasm-sock", "uninstall", "bench-install")
    return statistics.median(beyond)


def thousand_handlers():
    """Milliseconds that the generator and `list` take for a thousand handlers that sleep."""
    HANDLERS.mkdir(parents=True, exist_ok=True)
    for number in range(1000):
        text = f'[handler.sleeper{number}]\nlisten = "127.0.0.1:{21000 + number}"\nmemory = "16MiB"\n'
        (HANDLERS / f"sleeper{number}.toml").write_text(text)
    generated = []
    for _ in range(20):
        # As systemd's: a tmpfs.
        with tempfile.TemporaryDirectory(dir="/run") as folder:
            generated.append(milliseconds(GENERATOR, folder, folder, folder))
    run("systemctl", "daemon-reload")
    run("systemctl", "start", *[f"wasm-sock@sleeper{number}.socket" for number in range(1000)])
    listed = [milliseconds("wasm-sock", "list") for _ in range(20)]
    return {
        "generator, 1,000 handlers": statistics.median(generated),
        "list, 1,000 handlers": statistics.median(listed),
    }


def cold_starts():
    MODULES.mkdir(parents=True, exist_ok=True)
    shipped = Path("/usr/lib/systemd/system/wasm-sock.service").read_text()
    start = f"\n[Service]\nExecStart=\nExecStart={HOST}\n"
    # The same unit, without the directives that need support in the program.
    instead = "\n[Service]\nExecStart=\nExecStart=/usr/bin/baseline\nType=simple\nRestart=no\nWatchdogSec=0\n"
    hardened = Path("units/hardened.conf").read_text()
    bare = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={}\n"
    services = {
        BARE_C: bare.format("/usr/bin/baseline"),
        "wasm-sock, bare unit": bare.format(HOST),
        SHIPPED_C: shipped + instead,
        SHIPPED: shipped + start,
        **{what: shipped + start.replace(HOST, f"{HOST} --when-idle park") for what in PARKED},
        "static C, hardened.conf": shipped + instead + hardened,
        "wasm-sock, hardened.conf": shipped + start + hardened,
    }
    ports = {}
    for number, (what, text) in enumerate(services.items()):
        name, port = f"bench{number}", 19000 + number
        service(name, text)
        guest = PARKED.get(what, "p1/hello")
        run("build/wasm-sock", "compile", f"build/guests/{guest}.wasm", "-o", MODULES / f"{name}.cwasm")
        (SYSTEM / f"{name}.socket").write_text(
            f"[Socket]\nListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=0\n"
        )
        ports[what] = (name, port)
    run("systemctl", "daemon-reload")
    for name, _ in ports.values():
        run("systemctl", "start", f"{name}.socket")
    times = {what: [] for what in services}
    # The first round fills the cache, and does not count.
    for number in range(ROUNDS + 1):
        for what, (name, port) in ports.items():
            taken = connect(port, REQUEST if "HTTP" in what else b"")
            if number:
                times[what].append(taken)
            settle(name, what in PARKED)
    return times


def settle(name, is_parked):
    """Waits until the service has exited, and systemd has cleaned up after it; or until nothing but its keeper runs."""
    give_up = time.monotonic() + 30
    processes = Path(f"/sys/fs/cgroup/system.slice/{name}.service/cgroup.procs")

    def is_awake():
        if is_parked:
            return len(processes.read_text().split()) > 1
        return subprocess.run(["systemctl", "is-active", "-q", f"{name}.service"]).returncode == 0

    while is_awake():
        if time.monotonic() > give_up:
            sys.exit(f"{name}.service does not end")
        time.sleep(0.02)
    time.sleep(0.2)


def connect(port, request):
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(request)
        if not request:
            client.shutdown(socket.SHUT_WR)
        if not client.recv(1):
            sys.exit(f"no answer at port {port}")
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
