"""Thirty services on a small server, before and after: run it in tools/systemd-box (`make bench-thirty`).

Before: thirty services of their own in Python, each an HTTP server of the standard library that answers one line, as a
unit. After: thirty handlers, of a guest in Rust or in Python. How many processes there are, and their PSS together
(smaps_rollup): before a client came, when each has just answered, and when they sleep again. docs/replace/thirty.md has
the numbers.
"""

import re
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

COUNT = 30
FIRST_PORT = 7300
PORTS = range(FIRST_PORT, FIRST_PORT + COUNT)
SYSTEM = Path("/etc/systemd/system")
HANDLERS = Path("/etc/wasm-sock/handlers.d")
MODULES = Path("/var/lib/wasm-sock/modules")
CONFIGURATION = Path("/etc/wasm-sock/wasm-sock.toml")
SERVICE = """\
import http.server


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = b"Hello, stranger!\\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
"""


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def until(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise TimeoutError(condition)


def answer(port):
    with urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
        assert response.status == 200 and response.read()


def answers(port):
    try:
        answer(port)
        return True
    except OSError:
        return False


def pss(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss: *(\d+)", text, re.MULTILINE)[1])


def processes(part):
    """The processes whose command line has this part."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if part in command and "thirty.py" not in command:
            found.append(folder.name)
    return found


def report(what, part):
    found = processes(part)
    print(f"{what:48} {len(found):3} processes {sum(map(pss, found)) * 1024 / 1e6:7.1f} MB", flush=True)


def python_services():
    for port in PORTS:
        script = Path(f"/usr/local/lib/thirty/service{port}.py")
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(SERVICE.format(port=port))
        unit = f"[Service]\nDynamicUser=yes\nExecStart=/usr/bin/python3 {script}\n"
        (SYSTEM / f"thirty{port}.service").write_text(unit)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", *(f"thirty{port}.service" for port in PORTS))
    for port in PORTS:
        until(lambda: answers(port))
    report("thirty Python services", "/thirty/service")
    run("systemctl", "stop", *(f"thirty{port}.service" for port in PORTS))
    for port in PORTS:
        (SYSTEM / f"thirty{port}.service").unlink()
    run("systemctl", "daemon-reload")


def handlers(guest, process):
    CONFIGURATION.write_text('[host]\nidle-timeout = "5s"\n')
    names = [f"thirty{port}" for port in PORTS]
    for name, port in zip(names, PORTS):
        text = f'[handler.{name}]\nmodule = "{guest}.cwasm"\nlisten = "127.0.0.1:{port}"\nprocess = "{process}"\n'
        (HANDLERS / f"{name}.toml").write_text(text)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", *(f"wasm-sock@{name}.socket" for name in names))
    report(f"thirty handlers of {guest}, {process}: asleep", "wasm-sock host")
    for port in PORTS:
        answer(port)
    report("  each has just answered", "wasm-sock host")
    until(lambda: not processes("wasm-sock host"))
    report("  asleep again", "wasm-sock host")
    run("systemctl", "stop", *(f"wasm-sock@{name}.socket" for name in names))
    for name in names:
        (HANDLERS / f"{name}.toml").unlink()
    run("systemctl", "daemon-reload")


def main():
    run("make", "install", "PREFIX=/usr")
    python_services()
    for guest in ["http-hello", "http-python"]:
        run("wasm-sock", "compile", f"build/guests/p2/{guest}.wasm", "-o", str(MODULES / f"{guest}.cwasm"))
        for process in ["own", "shared"]:
            handlers(guest, process)


main()
