//! `docs/` is a book, and leads nowhere that is not there: `SUMMARY.md` lists each page once, and each relative link of
//! the documents names a file that exists, and a heading in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// Documents outside of the book whose links are checked as well.
const OTHERS: [&str; 9] = [
    "README.md",
    "guests/README.md",
    "tests/README.md",
    "SPECIFICATION.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "RELEASING.md",
    "SECURITY.md",
    "CHANGELOG.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the repository")
}

/// What a document has that leads to a place, or that is one.
#[derive(Default)]
struct Document {
    /// Destinations of links and pictures.
    links: Vec<String>,
    /// The anchors of its headings.
    anchors: BTreeSet<String>,
}

impl Document {
    fn parse(text: &str) -> Self {
        let mut found = Self::default();
        let mut heading: Option<String> = None;
        for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    found.links.push(dest_url.into_string());
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let words = heading.take().unwrap_or_default();
                    let fresh = found.anchors.insert(anchor(&words));
                    assert!(fresh, "two headings {words:?}");
                }
                Event::Text(part) | Event::Code(part) => {
                    if let Some(words) = &mut heading {
                        words.push_str(&part);
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// The anchor of a heading, as GitHub and mdbook make it.
fn anchor(words: &str) -> String {
    let kept = words.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    });
    kept.collect::<String>().to_lowercase()
}

/// All Markdown files below `folder`.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of documents") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// `folder/link` without `..`. The files need not exist.
fn resolved(folder: &Path, link: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

/// Why a link of this document leads nowhere; `None`: it does not, or leads out of the repository.
fn fault(document: &Path, link: &str, documents: &BTreeMap<PathBuf, Document>) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => document.to_owned(),
        _ => resolved(document.parent().expect("a folder"), file),
    };
    if !target.exists() {
        return Some(format!("{link}: there is no {}", target.display()));
    }
    if anchor.is_empty() {
        return None;
    }
    let Some(there) = documents.get(&target) else {
        return Some(format!("{link}: no document whose headings are known"));
    };
    (!there.anchors.contains(anchor)).then(|| format!("{link}: there is no such heading"))
}

#[test]
fn the_book_has_each_page_once() {
    let book = root().join("docs");
    let summary = fs::read_to_string(book.join("SUMMARY.md")).expect("the table of contents");
    let mut listed = Document::parse(&summary).links;
    // Documents that lie elsewhere, because readers of the source look for them there.
    listed.retain(|link| !link.starts_with("../"));
    listed.sort();
    let mut found = Vec::new();
    pages(&book, &mut found);
    let mut found: Vec<String> = found
        .iter()
        .map(|path| path.strip_prefix(&book).unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "SUMMARY.md")
        .collect();
    found.sort();
    assert_eq!(listed, found);
}

/// Links that lead nowhere, and how many there are in all.
fn faults(found: Vec<PathBuf>) -> (Vec<String>, usize) {
    let documents: BTreeMap<PathBuf, Document> = found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a document");
            (path, Document::parse(&text))
        })
        .collect();
    let mut faults = Vec::new();
    let mut count = 0;
    for (path, document) in &documents {
        count += document.links.len();
        let wrong = document.links.iter().filter_map(|link| fault(path, link, &documents));
        faults.extend(wrong.map(|why| format!("{}: {why}", path.display())));
    }
    (faults, count)
}

#[test]
fn each_link_of_the_documents_leads_somewhere() {
    let root = root();
    let mut found: Vec<PathBuf> = OTHERS.iter().map(|name| root.join(name)).collect();
    pages(&root.join("docs"), &mut found);
    let (faults, count) = faults(found);
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(count > 150, "only {count} links");
}

#[test]
fn each_link_of_the_copies_in_packages_and_in_the_book_leads_to_another_copy() {
    let folder = tempfile::tempdir().unwrap();
    for options in [&[][..], &["--book"]] {
        let folder = folder.path().join(options.concat());
        let mut copy = Command::new(root().join("packaging/docs"));
        let copied = copy.args(options).arg(&folder).status();
        assert!(copied.expect("run packaging/docs").success());
        let mut found = Vec::new();
        pages(&folder, &mut found);
        let (faults, count) = faults(found);
        assert!(faults.is_empty(), "{faults:#?}");
        assert!(count > 100, "only {count} links");
    }
}

#[test]
fn a_link_that_leads_nowhere_is_noticed() {
    let start = root().join("docs/start.md");
    let there = Document::parse("# One\n\n## `code`, and *more*: 2\n\n[a](b.md) ![c](d.svg)\n");
    assert_eq!(there.links, ["b.md", "d.svg"]);
    assert!(there.anchors.contains("code-and-more-2"));
    let documents = BTreeMap::from([(start.clone(), there)]);
    for link in [
        "#one",
        "start.md#one",
        "../README.md",
        "https://example.org/x",
        "how-to",
    ] {
        assert_eq!(fault(&start, link, &documents), None);
    }
    for link in ["#two", "start.md#two", "gone.md", "how-to/gone.md", "../docs2/x.md"] {
        assert!(fault(&start, link, &documents).is_some(), "{link}");
    }
}
