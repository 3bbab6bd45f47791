//! The README of a new project.

use super::template::Template;
use super::{Kind, article};

/// Ten lines.
pub fn text(name: &str, template: &Template, kind: Kind) -> String {
    let of_name = |text: &str| text.replace("NAME", name);
    let (build, test, source, module) = (
        template.build,
        template.test,
        of_name(template.source),
        of_name(template.module),
    );
    let listen = match kind {
        Kind::Stream | Kind::Http => "7000",
        Kind::Datagram => "udp:7000",
    };
    format!(
        "# {name}\n\
         \n\
         A guest of wasm-sock in {title}, for {what}: each gets a fresh instance of `{source}`.\n\
         \n\
         ```sh\n\
         {build}  # makes {module}\n\
         {test}\n\
         wasm-sock run --watch --listen {listen}  # serve it here, and again after each change\n\
         sudo wasm-sock install . --listen {listen}  # make it a service\n\
         ```\n",
        title = template.title,
        what = article(kind),
    )
}

#[cfg(test)]
mod tests {
    use super::super::Language;
    use super::*;

    #[test]
    fn a_readme_has_ten_lines() {
        let template = Template::find(Language::Zig, Kind::Datagram).unwrap();
        let text = text("knock", template, Kind::Datagram);
        assert_eq!(text.lines().count(), 10, "{text}");
        assert!(text.contains("knock.zig") && text.contains("udp:7000"), "{text}");
    }
}
