//! The Debian package as a file: what is in it, that it is the same each time, and what Debian's own check says of it.
//! Its installation is in `systemd::package`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// A package of this build, made once, and its files.
struct Package {
    folder: TempDir,
    file: PathBuf,
}

impl Package {
    fn get() -> &'static Self {
        static PACKAGE: OnceLock<Package> = OnceLock::new();
        PACKAGE.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let file = make(folder.path());
            run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(&file)
                .arg(folder.path().join("files")));
            Self { folder, file }
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("files").join(name)
    }

    fn is_for_arm(&self) -> bool {
        self.file.to_string_lossy().ends_with("_arm64.deb")
    }

    /// A file that is compressed.
    fn read_compressed(&self, name: &str) -> String {
        run(Command::new("gzip").arg("-dc").arg(self.path(name)))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What a command prints. It has to succeed.
fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&[stderr, stdout].concat())
    );
    String::from_utf8_lossy(&stdout).into_owned()
}

fn make(folder: &Path) -> PathBuf {
    let mut command = Command::new(root().join("packaging/deb"));
    let printed = run(command.arg(folder).env("SOURCE_DATE_EPOCH", "1700000000"));
    PathBuf::from(printed.trim())
}

#[test]
fn the_same_build_makes_the_same_bytes() {
    let again = tempfile::tempdir().unwrap();
    let (first, second) = (&Package::get().file, make(again.path()));
    assert_eq!(first.file_name(), second.file_name());
    assert!(
        fs::read(first).unwrap() == fs::read(second).unwrap(),
        "two packages of one build differ"
    );
    let archive = |name: &str| {
        let mut command = Command::new(root().join("packaging/tarball"));
        let folder = again.path().join(name);
        command.env("SOURCE_DATE_EPOCH", "1700000000").env("COMPRESSION", "1");
        let printed = run(command.arg(folder));
        fs::read(printed.trim()).unwrap()
    };
    assert!(
        archive("first") == archive("second"),
        "two archives of one build differ"
    );
    let image = |name: &str| fs::read(image(&again.path().join(name))).unwrap();
    assert!(image("first") == image("second"), "two images of one build differ");
}

/// The container image of this build.
fn image(folder: &Path) -> PathBuf {
    let mut command = Command::new(root().join("packaging/image"));
    let printed = run(command.arg(folder).env("SOURCE_DATE_EPOCH", "1700000000"));
    PathBuf::from(printed.trim())
}

/// What engines check when they load it. podman does that in `systemd::containers`; Docker reads `manifest.json`.
#[test]
fn an_image_is_a_valid_layout_of_at_most_20_mb_with_programs_alone() {
    let folder = tempfile::tempdir().unwrap();
    let archive = image(folder.path());
    assert!(fs::metadata(&archive).unwrap().len() <= 20_000_000);
    run(Command::new("tar")
        .arg("-C")
        .arg(folder.path())
        .arg("-xf")
        .arg(&archive));
    let json =
        |path: &str| -> Value { serde_json::from_slice(&fs::read(folder.path().join(path)).unwrap()).unwrap() };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = format!("blobs/sha256/{digest}");
        let file = folder.path().join(&path);
        assert!(run(Command::new("sha256sum").arg(&file)).starts_with(digest), "{path}");
        assert_eq!(fs::metadata(&file).unwrap().len(), descriptor["size"], "{path}");
        path
    };
    let index = json("index.json");
    let manifest = json(&blob(&index["manifests"][0]));
    let (config, layer) = (blob(&manifest["config"]), blob(&manifest["layers"][0]));
    let architecture = if Package::get().is_for_arm() { "arm64" } else { "amd64" };
    assert_eq!(json(&config)["architecture"], architecture);
    assert_eq!(json("manifest.json")[0]["Config"], config);
    assert_eq!(json("manifest.json")[0]["Layers"][0], layer);
    let unpacked = format!("gzip -dc {layer} | sha256sum");
    let unpacked = run(Command::new("sh").args(["-c", &unpacked]).current_dir(folder.path()));
    let diff = json(&config)["rootfs"]["diff_ids"][0].clone();
    assert_eq!(diff, format!("sha256:{}", unpacked.split(' ').next().unwrap()));
    let listed = run(Command::new("tar").arg("-tzf").arg(folder.path().join(layer)));
    let files: Vec<&str> = listed.lines().filter(|name| !name.ends_with('/')).collect();
    let expected = [
        "usr/bin/wasm-sock",
        "usr/lib/wasm-sock/wasm-sock-cli",
        "usr/lib/wasm-sock/wasm-sock-compile",
        "usr/lib/wasm-sock/wasm-sock-egress",
        "usr/lib/wasm-sock/wasm-sock-keeper",
        "usr/share/doc/wasm-sock/copyright.gz",
        "usr/share/doc/wasm-sock/sbom.cdx.json.gz",
    ];
    assert_eq!(files, expected);
}

/// The commands of docs/how-to/verify.md, with a key that is thrown away.
#[test]
fn checksums_are_signed_and_a_change_of_them_or_of_a_package_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let packages = path("packages");
    fs::create_dir(&packages).unwrap();
    fs::write(packages.join("wasm-sock_1_amd64.deb"), "a package").unwrap();
    fs::write(packages.join("wasm-sock-1-amd64.oci.tar"), "an image").unwrap();
    for name in ["key", "other"] {
        run(Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path(name)));
    }
    let signers = |key: &str| {
        let key = fs::read_to_string(path(&format!("{key}.pub"))).unwrap();
        let template = fs::read_to_string(root().join("packaging/release-signers")).unwrap();
        fs::write(path("release-signers"), format!("{template}releases {key}")).unwrap();
    };
    let check = |command: &str| {
        let mut shell = Command::new("bash");
        shell.args(["-euc", command]).current_dir(&packages);
        shell.output().unwrap().status.success()
    };
    let page = fs::read_to_string(root().join("docs/how-to/verify.md")).unwrap();
    let commands: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("$ "))
        .take(2)
        .collect();
    let verify = commands[0].replace("-f release-signers", "-f ../release-signers");
    assert!(verify.starts_with("ssh-keygen -Y verify -f ../") && commands[1].starts_with("sha256sum --check"));
    let sign = || {
        run(Command::new(root().join("packaging/checksums"))
            .arg(&packages)
            .arg(path("key")))
    };

    sign();
    signers("key");
    assert!(check(&verify) && check(commands[1]));
    // One file of the two is enough.
    fs::remove_file(packages.join("wasm-sock-1-amd64.oci.tar")).unwrap();
    assert!(check(commands[1]));
    fs::write(packages.join("wasm-sock_1_amd64.deb"), "another package").unwrap();
    assert!(check(&verify) && !check(commands[1]), "a package that was changed");
    run(Command::new(root().join("packaging/checksums")).arg(&packages));
    assert!(!check(&verify), "a list without a signature");
    sign();
    let list = packages.join("SHA256SUMS");
    fs::write(&list, fs::read_to_string(&list).unwrap().replace("amd64", "arm64")).unwrap();
    assert!(!check(&verify), "a list that was changed");
    sign();
    signers("other");
    assert!(!check(&verify), "a list that another key has signed");
}

/// SPECIFICATION.md has no bound for it: this is.
#[test]
fn a_package_has_at_most_8_mb() {
    let size = fs::metadata(&Package::get().file).unwrap().len();
    assert!(size <= 8_000_000, "{size} bytes");
}

#[test]
fn lintian_finds_nothing_that_is_not_explained() {
    let mut lintian = Command::new("lintian");
    lintian.args(["--tag-display-limit", "0", "--fail-on", "error,warning"]);
    let output = lintian
        .arg(&Package::get().file)
        .output()
        .expect("run lintian (tools/setup tests)");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("unused-override"), "{said}");
    let overrides = fs::read_to_string(root().join("packaging/debian/lintian-overrides")).unwrap();
    let mut explained = false;
    for line in overrides.lines() {
        assert!(line.starts_with('#') || explained, "without a reason: {line}");
        explained = line.starts_with('#');
    }
}

#[test]
fn a_package_has_all_that_belongs_to_it() {
    let package = Package::get();
    for file in [
        "usr/bin/wasm-sock",
        "usr/lib/wasm-sock/wasm-sock-cli",
        "usr/lib/wasm-sock/wasm-sock-compile",
        "usr/lib/wasm-sock/wasm-sock-egress",
        "usr/lib/wasm-sock/wasm-sock-keeper",
        "usr/lib/systemd/system-generators/wasm-sock-generator",
        "usr/lib/systemd/system/wasm-sock@.service",
        "usr/lib/systemd/user/wasm-sock@.service",
        "usr/lib/sysusers.d/wasm-sock.conf",
        "usr/lib/tmpfiles.d/wasm-sock.conf",
        "usr/share/man/man1/wasm-sock-install.1.gz",
        "usr/share/man/man5/wasm-sock.toml.5.gz",
        "usr/share/man/man7/wasm-sock.7.gz",
        "usr/share/bash-completion/completions/wasm-sock",
        "usr/share/zsh/vendor-completions/_wasm-sock",
        "usr/share/fish/vendor_completions.d/wasm-sock.fish",
        "usr/share/wasm-sock/handler.schema.json",
        "usr/share/doc/wasm-sock/examples/hello.socket",
        "usr/share/wasm-sock/guests/hello.wasm",
        "usr/share/wasm-sock/guests/http-hello.wasm",
        "usr/share/doc/wasm-sock/README.md",
        "usr/share/doc/wasm-sock/docs/how-to/proxy.md",
        "usr/share/doc/wasm-sock/copyright",
        "usr/share/doc/wasm-sock/changelog.gz",
    ] {
        assert!(package.path(file).is_file(), "{file}");
    }
    // No path of the machine that compiled them.
    let cargo = std::env::var("CARGO_HOME").unwrap_or_else(|_| std::env::var("HOME").unwrap() + "/.cargo");
    for path in [cargo.as_bytes(), root().canonicalize().unwrap().as_os_str().as_bytes()] {
        for guest in fs::read_dir(package.path("usr/share/wasm-sock/guests")).unwrap() {
            let guest = guest.unwrap().path();
            let found = fs::read(&guest).unwrap().windows(path.len()).any(|bytes| bytes == path);
            assert!(!found, "{} in {}", String::from_utf8_lossy(path), guest.display());
        }
    }
    let programs = run(Command::new("find")
        .arg(package.path("usr"))
        .args(["-type", "f", "-perm", "/111"]));
    for program in programs.lines() {
        let dynamic = run(Command::new("readelf").args(["--dynamic", program]));
        assert!(!dynamic.contains("NEEDED"), "{program} needs a library: {dynamic}");
    }
}

/// The crates that cargo links, by its own words.
fn linked() -> BTreeSet<String> {
    let mut linked = BTreeSet::new();
    let target = if Package::get().is_for_arm() {
        "aarch64"
    } else {
        "x86_64"
    };
    let target = format!("{target}-unknown-linux-musl");
    let programs = ["", "-cli", "-compile", "-egress", "-generator", "-keeper"];
    let programs = programs.map(|program| (".".to_owned(), format!("wasm-sock{program}"), target.clone()));
    let guests = fs::read_dir(Package::get().path("usr/share/wasm-sock/guests"))
        .unwrap()
        .map(|guest| {
            let guest = guest.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned();
            (format!("guests/{guest}"), guest, "wasm32-wasip2".to_owned())
        });
    for (folder, package, target) in programs.into_iter().chain(guests) {
        let mut tree = Command::new(env!("CARGO"));
        tree.args(["tree", "--locked", "--prefix", "none", "--format", "{p}"]);
        tree.args([
            "--edges",
            "normal,no-proc-macro",
            "--target",
            &target,
            "--package",
            &package,
        ]);
        let lines = run(tree.current_dir(root().join(folder)));
        let others = lines.lines().filter(|line| !line.is_empty() && !line.contains(" (/"));
        linked.extend(others.map(|line| {
            let mut words = line.split(' ');
            format!(
                "{}-{}",
                words.next().unwrap(),
                words.next().unwrap().trim_start_matches('v')
            )
        }));
    }
    assert!(linked.len() > 150, "{linked:?}");
    linked
}

#[test]
fn all_that_is_linked_in_has_its_licence_text() {
    let text = fs::read_to_string(Package::get().path("usr/share/doc/wasm-sock/copyright")).unwrap();
    let paragraphs: BTreeSet<&str> = text
        .split("\n\n")
        .filter_map(|paragraph| paragraph.lines().next())
        .collect();
    let others = ["musl-1.2.5", "sqlite-3", "rust-std-1", "llvm-runtimes-1", "wasi-libc-1"];
    for other in others {
        assert!(text.contains(&format!("\nFiles: crates/{other}")), "{other}");
    }
    for component in linked() {
        for line in [
            format!("Files: crates/{component}/*"),
            format!("License: licence-of-{component}"),
        ] {
            assert!(paragraphs.contains(line.as_str()), "{line}");
        }
    }
    for words in [
        "Permission is hereby granted",
        "LLVM Exceptions to the Apache 2.0 License",
        "Redistribution and use",
    ] {
        assert!(text.contains(words), "{words}");
    }
}

#[test]
fn the_bill_of_materials_is_valid_and_has_all_that_is_linked_in() {
    let text = Package::get().read_compressed("usr/share/doc/wasm-sock/sbom.cdx.json.gz");
    let bill: Value = serde_json::from_str(&text).unwrap();
    let string = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let components = bill["components"].as_array().unwrap();
    let names: BTreeSet<String> = components
        .iter()
        .map(|each| format!("{}-{}", string(each, "name"), string(each, "version")))
        .collect();
    let missing: Vec<String> = linked().difference(&names).cloned().collect();
    assert_eq!(missing, [""; 0]);
    let file = Package::get().folder.path().join("sbom.json");
    fs::write(&file, text).unwrap();
    let venv = root().join("build/venv");
    let find = run(Command::new("find")
        .arg(venv.join("schemas/lib"))
        .args(["-path", "*/cyclonedx/schema/_res"]));
    let mut validate = Command::new(venv.join("kubernetes/bin/python3"));
    validate
        .arg(root().join("tests/tests/package/sbom.py"))
        .arg(find.trim())
        .arg(file);
    assert_eq!(run(&mut validate), "");
}
