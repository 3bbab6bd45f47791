"""From a knock to the first byte, under a real systemd: run it in tests/systemd-box (`make bench-units`).

Each service is started cold, in turn with the others: a static C program in a unit with nothing in it,
the host in the same, in the shipped unit, and with units/hardened.conf. Median and p10 in milliseconds.
"""

import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

SYSTEM = Path("/etc/systemd/system")
MODULES = Path("/var/lib/wasm-sock/modules")
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
HOST = "/usr/bin/wasm-sock host --idle-timeout 0"


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def service(name, text):
    (SYSTEM / f"{name}.service").write_text(text)


def main():
    run("make", "install", "PREFIX=/usr")
    MODULES.mkdir(parents=True, exist_ok=True)
    shipped = Path("/usr/lib/systemd/system/wasm-sock.service").read_text()
    start = f"\n[Service]\nExecStart=\nExecStart={HOST}\n"
    hardened = Path("units/hardened.conf").read_text()
    bare = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={}\n"
    services = {
        "static C, bare unit": bare.format(os.path.abspath("build/baseline")),
        "wasm-sock, bare unit": bare.format(HOST),
        "wasm-sock, shipped unit": shipped + start,
        "wasm-sock, hardened.conf": shipped + start + hardened,
    }
    ports = {}
    for number, (what, text) in enumerate(services.items()):
        name, port = f"bench{number}", 19000 + number
        service(name, text)
        run("build/wasm-sock", "compile", "build/guests/p1/hello.wasm", "-o", MODULES / f"{name}.cwasm")
        (SYSTEM / f"{name}.socket").write_text(
            f"[Socket]\nListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=0\n"
        )
        ports[what] = (name, port)
    run("systemctl", "daemon-reload")
    for name, _ in ports.values():
        run("systemctl", "start", f"{name}.socket")
    times = {what: [] for what in services}
    for _ in range(ROUNDS):
        for what, (name, port) in ports.items():
            times[what].append(knock(port))
            while subprocess.run(["systemctl", "is-active", "-q", f"{name}.service"]).returncode == 0:
                time.sleep(0.02)
            # systemd still takes away what it had made for this one.
            time.sleep(0.2)
    print(f"{'knock to first byte':28} p10 ms  median ms  x static C")
    base = statistics.median(times["static C, bare unit"])
    for what, taken in times.items():
        median, p10 = statistics.median(taken), sorted(taken)[len(taken) // 10]
        print(f"{what:28} {p10:6.1f} {median:10.1f} {median / base:11.2f}")


def knock(port):
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.shutdown(socket.SHUT_WR)
        if not client.recv(1):
            sys.exit(f"nobody answered at port {port}")
    return (time.perf_counter() - began) * 1000


main()
