//! ARCHITECTURE.md says which crates use which, and in which order the modules of the host know each other; this holds the
//! code to it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, UseTree, Visibility};

/// The modules of the host by their paths (`serve::http`), and what each imports.
struct Imports(BTreeMap<String, BTreeSet<String>>);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The modules that ARCHITECTURE.md lists, from the bottom up.
fn documented_order() -> Vec<String> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, table) = text.split_once("| room | what it knows |").expect("the table of rooms");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let names = rows.map(|row| row.split('`').nth(1).expect("a name in backticks").to_owned());
    names.collect()
}

/// Every file below `folder`, but those of tests.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// What a file is to the compiler: `serve/http/mod.rs` is `serve::http`, and so is `serve/http.rs`; `main.rs` is empty.
fn module(source: &Path, file: &Path) -> String {
    let path = file.strip_prefix(source).unwrap().with_extension("");
    let names = path.iter().map(|name| name.to_str().unwrap());
    let names: Vec<&str> = names.filter(|name| !["mod", "main"].contains(name)).collect();
    names.join("::")
}

impl Imports {
    fn read() -> Self {
        let source = root().join("host/src");
        let mut found = Vec::new();
        files(&source, &mut found);
        let modules: BTreeSet<String> = found.iter().map(|file| module(&source, file)).collect();
        let imports = found.iter().map(|file| {
            let name = module(&source, file);
            let mut reader = Reader {
                module: &name,
                modules: &modules,
                imports: BTreeSet::new(),
            };
            let syntax = syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap();
            reader.visit_file(&syntax);
            reader.imports.remove(&name);
            (name.clone(), reader.imports)
        });
        Self(imports.filter(|(name, _)| !name.is_empty()).collect())
    }

    /// All that a module imports, by way of others, too.
    fn reachable(&self, from: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut next = vec![from];
        while let Some(module) = next.pop() {
            for import in &self.0[module] {
                if found.insert(import.as_str()) {
                    next.push(import);
                }
            }
        }
        found
    }
}

/// Finds the modules that a file names.
struct Reader<'a> {
    module: &'a str,
    modules: &'a BTreeSet<String>,
    imports: BTreeSet<String>,
}

impl Reader<'_> {
    /// Adds the module that a path leads to, if it is one of the host's.
    fn add(&mut self, path: &[String]) {
        let mut names: Vec<&str> = self.module.split("::").collect();
        let mut rest = path;
        match path.first().map(String::as_str) {
            Some("crate") => names.clear(),
            Some("self") => {}
            Some("super") => {
                names.pop();
            }
            _ => return,
        }
        rest = &rest[1..];
        while rest.first().is_some_and(|name| name == "super") {
            names.pop();
            rest = &rest[1..];
        }
        names.extend(rest.iter().map(String::as_str));
        let prefixes = (1..=names.len()).rev().map(|length| names[..length].join("::"));
        let named = prefixes.into_iter().find(|prefix| self.modules.contains(prefix));
        self.imports.extend(named);
    }

    fn add_tree(&mut self, tree: &UseTree, path: &mut Vec<String>) {
        match tree {
            UseTree::Path(step) => {
                path.push(step.ident.to_string());
                self.add_tree(&step.tree, path);
                path.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree, path)),
            UseTree::Name(name) if name.ident == "self" => self.add(path),
            UseTree::Name(name) => self.add(&[path.as_slice(), &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.add(&[path.as_slice(), &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.add(path),
        }
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    let is_cfg_test = |attribute: &&Attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && list.is_ok_and(|list| list.tokens.to_string() == "test")
    };
    attributes.iter().find(is_cfg_test).is_some()
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.add_tree(&item.tree, &mut Vec::new());
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        // A module knows what it is made of.
        let child = ["self".to_owned(), item.ident.to_string()];
        self.add(&child);
        visit::visit_item_mod(self, item);
    }

    /// `pub(super)` says who may import, and imports nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string());
        self.add(&names.collect::<Vec<_>>());
        visit::visit_path(self, path);
    }
}

/// The folders of the workspace's crates, and the names (`config`) of those that each uses: cargo's own words.
fn crates() -> BTreeMap<String, String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--locked", "--no-deps", "--format-version=1"]);
    let printed = cargo.current_dir(root()).output().expect("run cargo").stdout;
    let metadata: Value = serde_json::from_slice(&printed).expect("cargo's description of the workspace");
    let folder = |manifest: &Value| {
        let manifest = Path::new(manifest.as_str().unwrap());
        let folder = manifest.strip_prefix(root().canonicalize().unwrap()).unwrap().parent();
        folder.unwrap().to_str().unwrap().to_owned()
    };
    let uses = |package: &Value| {
        let names = package["dependencies"].as_array().unwrap().iter();
        let own = names.filter(|dependency| dependency["source"].is_null());
        let names: BTreeSet<&str> = own
            .map(|dependency| dependency["path"].as_str().unwrap().rsplit('/').next().unwrap())
            .collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    };
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| (folder(&package["manifest_path"]), uses(package)))
        .collect()
}

#[test]
fn every_crate_is_in_the_table_with_those_that_it_uses() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, table) = text.split_once("| crate | uses | what |").expect("the table of crates");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| {
        row.split('|')
            .map(|cell| cell.trim().trim_matches('`').to_owned())
            .collect()
    });
    let documented: BTreeMap<String, String> = cells
        .map(|cells: Vec<String>| (cells[1].clone(), cells[2].clone()))
        .collect();
    assert_eq!(documented, crates());
}

#[test]
fn every_module_of_the_host_is_in_the_table_and_the_other_way_round() {
    let documented: BTreeSet<String> = documented_order().into_iter().collect();
    let imports = Imports::read();
    let top = |module: &String| module.split("::").next().unwrap().to_owned();
    let existing: BTreeSet<String> = imports.0.keys().map(top).collect();
    assert_eq!(existing, documented);
}

#[test]
fn no_module_imports_one_that_the_table_has_below_it() {
    let order = documented_order();
    let place = |module: &str| {
        let top = module.split("::").next();
        order
            .iter()
            .position(|room| Some(room.as_str()) == top)
            .expect("in the table")
    };
    let imports = Imports::read();
    let mut upward = Vec::new();
    for (module, imported) in &imports.0 {
        let wrong = imported.iter().filter(|import| place(import) > place(module));
        upward.extend(wrong.map(|import| format!("{module} imports {import}")));
    }
    assert_eq!(upward, [""; 0]);
    assert!(
        imports.0["serve::accept"].contains("net"),
        "imports are found: {:?}",
        imports.0["serve::accept"]
    );
}

#[test]
fn no_two_files_of_the_host_import_each_other_by_way_of_others_either() {
    let imports = Imports::read();
    let circles = imports
        .0
        .keys()
        .filter(|module| imports.reachable(module).contains(module.as_str()));
    assert_eq!(circles.collect::<Vec<_>>(), [""; 0]);
}
