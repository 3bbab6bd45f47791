#!/usr/bin/env python3
"""What is linked into the programs of wasm-sock and the guests that are installed: licences and a bill of materials.

  linked.py [--without-guests] FOLDER     writes there:
    copyright         their licence texts (Debian's machine-readable format)
    sbom.cdx.json     a list of all components: CycloneDX 1.5, JSON

Both are made from Cargo.lock and those of the guests, for the features that are built; the same source gives the same
bytes. The date is that of $SOURCE_DATE_EPOCH. Called in the repository, after a build (cargo has the sources then).
"""

import datetime
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import uuid

PROGRAMS = ["wasm-sock", "wasm-sock-cli", "wasm-sock-compile", "wasm-sock-egress", "wasm-sock-generator",
            "wasm-sock-keeper"]
TARGET = os.environ.get("CARGO_BUILD_TARGET", "x86_64-unknown-linux-musl")
# As the Makefile has it.
GUESTS = [] if "--without-guests" in sys.argv[1:2] else re.search(r"^INSTALLED_GUESTS := (.*)", pathlib.Path("Makefile").read_text(), re.MULTILINE).group(1).split()
NAMES = re.compile(r"^(licen[cs]e|copying|unlicense|notice|copyright)", re.IGNORECASE)
# A file of that name with the licences of others, such as BoringSSL's in ring.
FOLDERS = ["", "LICENSES"]
MUSL = """Copyright © 2005-2020 Rich Felker, et al.

Permission is hereby granted, free of charge, to any person obtaining
a copy of this software and associated documentation files (the
"Software"), to deal in the Software without restriction, including
without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to
the following conditions:

The above copyright notice and this permission notice shall be
included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND,
EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT.
IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY
CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT,
TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
BSD = """Copyright 2015-2017 Nuxi (https://nuxi.nl/) and contributors
Copyright 2016-2017 Stanley Uche Godfrey
Copyright 2016-2018 Jonathan Anderson
Copyright 2022 Harald Hoyer

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions
are met:
1. Redistributions of source code must retain the above copyright
   notice, this list of conditions and the following disclaimer.
2. Redistributions in binary form must reproduce the above copyright
   notice, this list of conditions and the following disclaimer in the
   documentation and/or other materials provided with the distribution.

THIS SOFTWARE IS PROVIDED BY THE AUTHOR AND CONTRIBUTORS ``AS IS'' AND
ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE
ARE DISCLAIMED.  IN NO EVENT SHALL THE AUTHOR OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS
OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION)
HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT
LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY
OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF
SUCH DAMAGE.
"""
SQLITE = "The author disclaims copyright to this source code (https://sqlite.org/copyright.html).\n"


class Component:
    def __init__(self, name, version, licence, texts, purl, digest=None):
        self.name, self.version, self.licence, self.texts = name, version, licence, texts
        self.purl, self.digest, self.programs = purl, digest, set()

    def __str__(self):
        return f"{self.name}-{self.version}"


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def cargo(verb, folder, *arguments):
    return output("cargo", verb, "--locked", "--manifest-path", f"{folder}/Cargo.toml", *arguments)


@functools.cache
def metadata_of_cargo(folder=".", target=TARGET):
    return json.loads(cargo("metadata", folder, "--format-version=1", "--filter-platform", target))


def crates():
    """The crates of others that are linked, without macros and what builds them."""
    found = {}
    for program in PROGRAMS:
        add_crates(found, program, ".", TARGET)
    for guest in GUESTS:
        add_crates(found, guest, f"guests/{guest}", "wasm32-wasip2")
    # Some crates have no text in them.
    with_text = {component.licence: component for component in found.values() if component.texts}
    for component in found.values():
        if not component.texts:
            same = with_text.get(component.licence)
            if same is None:
                sys.exit(f"linked.py: {component} has no licence text, and no other crate is under {component.licence}")
            component.texts = same.texts
    return [found[key] for key in sorted(found)]


def add_crates(found, program, folder, target):
    packages = {(package["name"], package["version"]): package for package in metadata_of_cargo(folder, target)["packages"]}
    digests = digests_of_lock(folder)
    edges = ["--target", target, "--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]
    for line in cargo("tree", folder, "--package", program, *edges).splitlines():
        name, version = line.split()[:2] if line else ("", "")
        key = (name, version.removeprefix("v"))
        package = packages.get(key)
        if package is None or package["source"] is None:
            continue
        if key not in found:
            source = pathlib.Path(package["manifest_path"]).parent
            licence = (package["license"] or "").replace("/", " OR ")
            purl = "pkg:cargo/{}@{}".format(*key)
            found[key] = Component(*key, licence, texts_in(source), purl, digests.get(key))
        found[key].programs.add(program)


def digests_of_lock(folder):
    lock = tomllib.loads(pathlib.Path(folder, "Cargo.lock").read_text())
    return {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}


def texts_in(folder):
    files = [path for below in FOLDERS for path in sorted((folder / below).glob("*")) if NAMES.match(path.name) or below]
    return [path.read_text(errors="replace") for path in files if path.is_file() and path.suffix not in (".rs", ".toml")]


def others(crates):
    """What is linked, and is no crate of a lock file. libunwind, compiler-rt (llvm-runtimes) and wasi-libc come with rustc."""
    rustc = re.search(r"release: (\S+)", output("rustc", "-vV")).group(1)
    sqlite = next(crate for crate in crates if crate.name == "libsqlite3-sys")
    metadata = metadata_of_cargo()
    manifest = next(package["manifest_path"] for package in metadata["packages"] if package["name"] == sqlite.name)
    header = (pathlib.Path(manifest).parent / "sqlite3/sqlite3.h").read_text()
    version = re.search(r'#define SQLITE_VERSION +"([^"]+)"', header).group(1)
    mit = pathlib.Path("LICENSE-MIT").read_text()
    mit = mit.replace(mit.splitlines()[0], "Copyright (c) The Rust Project Contributors")
    rust = [mit, pathlib.Path("LICENSE-APACHE").read_text()]
    llvm = next(crate for crate in crates if crate.name == "wasmtime")
    wasi_libc = [mit.replace("The Rust Project Contributors", "the wasi-libc contributors"), MUSL, BSD]
    found = [
        Component("llvm-runtimes", rustc, llvm.licence, llvm.texts, f"pkg:generic/llvm-runtimes@{rustc}"),
        Component("musl", "1.2.5", "MIT", [MUSL], "pkg:generic/musl@1.2.5"),
        Component("rust-std", rustc, "MIT OR Apache-2.0", rust, f"pkg:generic/rust-std@{rustc}"),
        Component("sqlite", version, "blessing", [SQLITE], f"pkg:generic/sqlite@{version}"),
    ]
    if GUESTS:
        found.append(Component("wasi-libc", rustc, "MIT AND BSD-2-Clause", wasi_libc, f"pkg:generic/wasi-libc@{rustc}"))
    linked_in = {"sqlite": sqlite.programs, "musl": PROGRAMS, "wasi-libc": GUESTS}
    for component in found:
        component.programs.update(linked_in.get(component.name, PROGRAMS + GUESTS))
    return found


def shortened(text):
    """Debian has the text of the Apache License; what is in a file before and after it stays."""
    begin = re.search(r"^[ \t]*Apache License\s*$", text, re.MULTILINE)
    end = re.search(r"^[ \t]*END OF TERMS AND CONDITIONS[ \t]*$", text, re.MULTILINE)
    if not (begin and end and begin.start() < end.start()):
        return text
    after = re.sub(r"\s*APPENDIX: How to apply.*?limitations under the License\.", "", text[end.end() :], flags=re.DOTALL)
    return f"{text[:begin.start()]}\nApache License, version 2.0: see /usr/share/common-licenses/Apache-2.0\n{after}"


def field(text):
    """The text of a field: no line is empty."""
    lines = [line.rstrip() for line in text.replace("\f", "").strip("\n").splitlines()]
    return "\n".join(f" {line}" if line.strip() else " ." for line in lines)


def copyright_lines(texts):
    found = []
    for line in "\n".join(texts).splitlines():
        line = line.strip(" \t*/#")
        if re.match(r"(copyright|\(c\)|©)", line, re.IGNORECASE) and re.search(r"\d{4}|contributors|authors", line, re.IGNORECASE):
            if line not in found and not re.search(r"\[yyyy\]|\{yyyy\}|notice|holder|owner", line, re.IGNORECASE):
                found.append(line)
    return found


def write_copyright(components, file):
    write = functools.partial(print, file=file)
    write("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/")
    write("Upstream-Name: wasm-sock")
    write("Comment: The programs are static. Below is everything that is linked into them, as crates/NAME-VERSION; the")
    write(" same list, with checksums, is sbom.cdx.json, beside this file.\n")
    own = pathlib.Path("LICENSE-MIT").read_text()
    write("Files: *\nCopyright: 2026 the wasm-sock authors\nLicense: MIT or Apache-2.0")
    write(field(own))
    write(" .\n or: Apache License, version 2.0: see /usr/share/common-licenses/Apache-2.0\n")
    for component in components:
        copyrights = copyright_lines(component.texts) or [f"the authors of {component.name}"]
        write(f"Files: crates/{component}/*")
        write("Copyright: " + "\n ".join(copyrights))
        name = f"licence-of-{component}"
        write(f"License: {name}")
        write(f"Comment: {component.licence}\n")
    # Each text once, with the components that have it.
    texts = {}
    for component in components:
        text = "\n\n".join(shortened(text).strip("\n") for text in component.texts)
        texts.setdefault(text, []).append(component)
    for text, components in texts.items():
        first, *same = components
        write(f"License: licence-of-{first}\n{field(text)}\n")
        for component in same:
            write(f"License: licence-of-{component}\n The same text as licence-of-{first}.\n")


def write_sbom(components, file):
    version = re.search(r'^version = "(.*)"', pathlib.Path("Cargo.toml").read_text(), re.MULTILINE).group(1)
    date = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    entries = []
    for component in components:
        entry = {
            "type": "library",
            "bom-ref": component.purl,
            "name": component.name,
            "version": component.version,
            "licenses": [{"expression": component.licence}],
            "purl": component.purl,
            "properties": [{"name": "wasm-sock:program", "value": program} for program in sorted(component.programs)],
        }
        if component.digest:
            entry["hashes"] = [{"alg": "SHA-256", "content": component.digest}]
        entries.append(entry)
    programs = [{"type": "application", "bom-ref": name, "name": name, "version": version} for name in PROGRAMS + GUESTS]
    needs = [
        {"ref": name, "dependsOn": [c["bom-ref"] for c in entries if {"name": "wasm-sock:program", "value": name} in c["properties"]]}
        for name in PROGRAMS + GUESTS
    ]
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": date.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "application",
                "bom-ref": "pkg:generic/wasm-sock@" + version,
                "name": "wasm-sock",
                "version": version,
                "licenses": [{"expression": "MIT OR Apache-2.0"}],
                "components": programs,
            },
        },
        "components": entries,
        "dependencies": needs,
    }
    content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"
    json.dump(document, file, indent=1)
    file.write("\n")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    known = crates()
    components = sorted(known + others(known), key=str)
    for name, write in (("copyright", write_copyright), ("sbom.cdx.json", write_sbom)):
        with open(pathlib.Path(sys.argv[-1], name), "w") as file:
            write(components, file)


if __name__ == "__main__":
    main()
