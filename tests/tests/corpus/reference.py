"""What Wasmtime's own runner makes of the corpus: `reference.py PROGRAM...`, with the Python of build/corpus/venv.

For every run of programs.toml it writes, into build/corpus/expected/PROGRAM/RUN/, what the program wrote to
`stdout` and `stderr`, its exit `code` or the word "trap", and the granted directories as it left them (`dirs/0`,
`dirs/1`, ...). A run that was done before, with the same module and the same Wasmtime, is not done again.
"""

import fcntl
import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import tomllib
from pathlib import Path

import wasmtime
import wasmtime.component

HERE = Path(__file__).resolve().parent
CORPUS = Path(os.environ.get("WASM_SOCK_BUILD", HERE.parents[2] / "build")) / "corpus"
PROGRAMS = tomllib.loads((HERE / "programs.toml").read_text())["program"]


def main():
    wanted = sys.argv[1:]
    with open(CORPUS / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for program in PROGRAMS:
            if program["name"] in wanted or not wanted:
                Reference(program).run_all()


def by_name(name):
    [program] = [program for program in PROGRAMS if program["name"] == name]
    return Reference(program)


class Reference:
    def __init__(self, program):
        self.program = program
        self.package = CORPUS / "packages" / program["package"]
        self.loaded = None

    def run_all(self):
        for run in self.program["run"]:
            sources = [granted["from-run"] for granted in run.get("dirs", []) if "from-run" in granted]
            for source in sources:
                by_name(source.split("/")[0]).run_all()
            stamp = self.folder(run) / "stamp"
            identity = self.identity(run, sources)
            if not stamp.exists() or stamp.read_text() != identity:
                self.run(run, self.folder(run))
                stamp.write_text(identity)

    def folder(self, run):
        return CORPUS / "expected" / self.program["name"] / run["name"]

    def identity(self, run, sources):
        """Changes with everything that the outcome depends on."""
        parts = [
            Path(__file__).read_text(),
            importlib.metadata.version("wasmtime"),
            self.program["sha256"],
            json.dumps(run, sort_keys=True),
            *((CORPUS / "expected" / source / "stamp").read_text() for source in sources),
        ]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def run(self, run, folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        stdin = folder / "stdin"
        stdin.write_text(run.get("stdin", "") * run.get("repeat", 1))
        wasi = wasmtime.WasiConfig()
        wasi.argv = [run["name"], *run.get("args", [])]
        wasi.env = list(run.get("env", {}).items())
        wasi.stdin_file = str(stdin)
        wasi.stdout_file = str(folder / "stdout")
        wasi.stderr_file = str(folder / "stderr")
        for number, granted in enumerate(run.get("dirs", [])):
            host = self.directory(granted, folder / "dirs" / str(number))
            wasi.preopen_dir(str(host), granted["guest"], granted["access"] == "read-write")
        code = self.exit_code(wasi)
        (folder / "code").write_text(f"{code}\n")

    def directory(self, granted, folder):
        """A directory with what it shall have; one of the package's own is taken as it is."""
        if "from" in granted:
            return self.package / granted["from"]
        if "from-run" in granted:
            shutil.copytree(CORPUS / "expected" / granted["from-run"] / "dirs/0", folder)
            return folder
        folder.mkdir(parents=True)
        for name, content in granted.get("files", {}).items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return folder

    def exit_code(self, wasi):
        engine, module = self.load()
        store = wasmtime.Store(engine)
        store.set_wasi(wasi)
        if isinstance(module, wasmtime.component.Component):
            command = component_command(engine, store, module)
        else:
            linker = wasmtime.Linker(engine)
            linker.define_wasi()
            command = linker.instantiate(store, module).exports(store)["_start"]
        try:
            # A core module returns nothing, a component a `result`.
            return 1 if getattr(command(store), "tag", "ok") == "err" else 0
        except wasmtime.ExitTrap as exit:
            return exit.code
        except (wasmtime.Trap, wasmtime.WasmtimeError):
            return "trap"

    def load(self):
        if self.loaded is None:
            config = wasmtime.Config()
            config.wasm_exceptions = True
            config.wasm_function_references = True
            config.wasm_gc = True
            config.wasm_component_model = True
            engine = wasmtime.Engine(config)
            wasm = (self.package / self.program["file"]).read_bytes()
            # The fourth and fifth byte: the version, which is 1 of a core module.
            kind = wasmtime.Module if wasm[4:8] == b"\1\0\0\0" else wasmtime.component.Component
            self.loaded = engine, kind(engine, wasm)
        return self.loaded


def component_command(engine, store, component):
    """What a command of WASI 0.2 exports: the function of `wasi:cli/run`."""
    linker = wasmtime.component.Linker(engine)
    linker.add_wasip2()
    instance = linker.instantiate(store, component)
    for minor in range(10):
        interface = instance.get_export_index(store, f"wasi:cli/run@0.2.{minor}")
        if interface is not None:
            return instance.get_func(store, instance.get_export_index(store, "run", interface))
    raise SystemExit("it does not export wasi:cli/run")


if __name__ == "__main__":
    main()
