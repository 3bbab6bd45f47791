"""What each piece of the shipped unit costs at a start, under a real systemd: run it in tools/systemd-box
(`make bench-pieces`).

From connect to the first byte, each service started cold, in alternation: the shipped unit, the same without one piece
or with another value of it, and a unit with nothing in it. Median of the differences to the shipped unit of the same
round, in milliseconds; negative: the start is faster so.
"""

import pwd
import re
import statistics
import sys
from pathlib import Path

from units import HOST, MODULES, ROUNDS, SYSTEM, connect, run, service, settle

SHIPPED = "shipped"
# Which groups the user is in is asked of each source in nsswitch.conf(5): one of them is systemd itself, by a socket.
FILES = "initgroups: files, in nsswitch.conf"
NSSWITCH = Path("/etc/nsswitch.conf")
BARE = "nothing but ExecStart="


def without(text, *keys):
    """The unit without the lines of these settings."""
    pattern = "|".join(re.escape(key) for key in keys)
    return re.sub(rf"^(?:{pattern})=.*\n", "", text, flags=re.MULTILINE)


def variants(shipped):
    """Units by what is different in them."""
    number = pwd.getpwnam("wasm-sock").pw_uid
    hardening = [
        "CapabilityBoundingSet", "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber",
        "RestrictAddressFamilies", "RestrictNamespaces", "RestrictSUIDSGID", "RestrictRealtime", "LockPersonality",
        "ProtectClock", "ProtectHostname", "DevicePolicy",
    ]
    directories = ["CacheDirectory", "StateDirectory", "ConfigurationDirectory", "RuntimeDirectory"]
    directories += [f"{name}Mode" for name in directories] + ["RuntimeDirectoryPreserve"]
    filters = ["SystemCallArchitectures", "SystemCallFilter", "RestrictAddressFamilies", "RestrictNamespaces",
               "RestrictSUIDSGID", "RestrictRealtime", "LockPersonality"]
    return {
        SHIPPED: shipped,
        "shipped, once more": shipped,
        BARE: f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart={HOST}\n",
        "Type=simple": shipped.replace("Type=notify\n", "Type=simple\n"),
        "Type=exec": shipped.replace("Type=notify\n", "Type=exec\n"),
        "without WatchdogSec=": without(shipped, "WatchdogSec"),
        "without User= (as root)": without(shipped, "User"),
        "User= by number": shipped.replace("User=wasm-sock\n", f"User={number}\nGroup={number}\n"),
        FILES: shipped,
        "without its directories": without(shipped, *directories),
        "without all hardening": without(shipped, *hardening),
        "without all filters of system calls": without(shipped, *filters),
        "without SystemCallFilter=": without(shipped, "SystemCallFilter"),
        "without RestrictAddressFamilies=": without(shipped, "RestrictAddressFamilies"),
        "without RestrictSUIDSGID=": without(shipped, "RestrictSUIDSGID"),
        "without DevicePolicy=, ProtectClock=": without(shipped, "DevicePolicy", "ProtectClock"),
        "without ProtectHostname=": without(shipped, "ProtectHostname"),
        "without RemoveIPC=": without(shipped, "RemoveIPC"),
        "no connection to the journal": shipped + "\n[Service]\nStandardOutput=null\nStandardError=null\n",
        "a slice of its own": shipped + "\n[Service]\nSlice=wasm-sock.slice\n",
        "no accounting": shipped + "\n[Service]\nMemoryAccounting=no\nTasksAccounting=no\nCPUAccounting=no\n",
    }


def main():
    run("make", "install", "PREFIX=/usr")
    MODULES.mkdir(parents=True, exist_ok=True)
    shipped = Path("/usr/lib/systemd/system/wasm-sock.service").read_text()
    start = f"\n[Service]\nExecStart=\nExecStart={HOST}\n"
    units = {}
    for number, (what, text) in enumerate(variants(shipped).items()):
        name, port = f"piece{number}", 19200 + number
        service(name, text if what == BARE else text + start)
        run("build/wasm-sock", "compile", "build/guests/p1/hello.wasm", "-o", MODULES / f"{name}.cwasm")
        (SYSTEM / f"{name}.socket").write_text(f"[Socket]\nListenStream=127.0.0.1:{port}\nTriggerLimitIntervalSec=0\n")
        units[what] = (name, port)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", *[f"{name}.socket" for name, _ in units.values()])
    times = {what: [] for what in units}
    switch = NSSWITCH.read_text()
    for number in range(ROUNDS + 1):
        for what, (name, port) in units.items():
            if what == FILES:
                NSSWITCH.write_text(f"{switch}\ninitgroups: files\n")
            taken = connect(port, b"")
            NSSWITCH.write_text(switch)
            if number:
                times[what].append(taken)
            settle(name, False)
    print(f"{'':38} p10 ms  median ms  to shipped ms")
    for what, taken in times.items():
        beyond = statistics.median(one - other for one, other in zip(taken, times[SHIPPED]))
        print(f"{what:38} {sorted(taken)[len(taken) // 10]:6.1f} {statistics.median(taken):10.1f} {beyond:14.2f}")


sys.exit(main())
