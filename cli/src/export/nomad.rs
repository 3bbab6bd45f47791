//! A job for Nomad, with our container image (drivers `docker` and `podman`).

use super::container::USER;
use super::subject::{METRICS, Port, Subject};
use super::{command, comment, losses, quoted, settings};
use std::fmt::Write as _;

/// The job, for `nomad job run -`.
///
/// # Errors
/// When the settings cannot be written.
pub fn job(subject: &Subject, image: &str) -> Result<String, String> {
    let (name, label) = (&subject.name, &subject.label);
    let mut text = comment(&format!("{name}, by `wasm-sock export nomad`."));
    text += &losses("Nomad", &subject.lost());
    text += &comment("All limits of the configuration are kept: the host in the container enforces them.");
    let secrets = subject.secrets();
    if !secrets.is_empty() {
        let items: Vec<String> = secrets.iter().map(|key| format!("{key}=@{key}")).collect();
        text += &comment("The secrets are not in here. From a file of that name each:");
        text += &command(&format!("nomad var put nomad/jobs/{label} {}", items.join(" ")));
    }
    text += &settings::warnings(subject);
    if settings::is_stateful(subject) {
        text += &comment("The embedded store is in the volume, which you make: nomad volume create. count stays 1.");
    }
    let _ = write!(
        text,
        "job {0} {{\n  type = \"service\"\n\n  group {0} {{\n    count = 1\n\n    network {{\n",
        quoted(label)
    );
    for port in &subject.ports {
        let _ = writeln!(
            text,
            "      port {} {{ to = {} }}",
            quoted(&identifier(*port)),
            port.number
        );
    }
    let _ = writeln!(text, "      port \"metrics\" {{ to = {METRICS} }}\n    }}");
    for port in &subject.ports {
        text += &service(subject, *port);
    }
    text += &volumes(subject);
    text += &task(subject, image)?;
    text += "  }\n}\n";
    Ok(text)
}

/// Nomad's names of ports have no `-`.
fn identifier(port: Port) -> String {
    port.name().replace('-', "_")
}

fn service(subject: &Subject, port: Port) -> String {
    let name = match subject.ports.len() {
        1 => subject.label.clone(),
        _ => format!("{}-{}", subject.label, port.name()),
    };
    format!(
        "\n    service {{\n      provider = \"nomad\"\n      name     = {}\n      port     = {}\n\n      # The host itself \
         answers: no guest runs for it.\n      check {{\n        type     = \"http\"\n        path     = \"/metrics\"\n        \
         port     = \"metrics\"\n        interval = \"10s\"\n        timeout  = \"2s\"\n      }}\n    }}\n",
        quoted(&name),
        quoted(&identifier(port))
    )
}

/// The claims of a group: the state, and each folder.
fn volumes(subject: &Subject) -> String {
    let volume = |name: &str, source: &str, is_read_only: bool| {
        let (name, source) = (quoted(name), quoted(source));
        format!(
            "\n    volume {name} {{\n      type      = \"host\"\n      source    = {source}\n      read_only = {is_read_only}\n    \
             }}\n"
        )
    };
    let label = &subject.label;
    let mut text = String::new();
    if settings::is_stateful(subject) {
        text += &volume("state", &format!("{label}-state"), false);
    }
    for (number, directory) in subject.handler.dirs.iter().enumerate() {
        let is_read_only = directory.access == wasm_sock_config::Access::ReadOnly;
        text += &volume(&format!("dir{number}"), &format!("{label}-dir{number}"), is_read_only);
    }
    text
}

fn task(subject: &Subject, image: &str) -> Result<String, String> {
    let ports: Vec<String> = subject.ports.iter().map(|port| quoted(&identifier(*port))).collect();
    let mut text = format!(
        "\n    task \"wasm-sock\" {{\n      driver       = \"docker\"\n      user         = \"{USER}:{USER}\"\n      kill_signal  = \
         \"SIGTERM\"\n      kill_timeout = \"{}s\"\n\n      config {{\n        image           = {}\n        args            = \
         [\"serve\", \"--log-format\", \"json\", \"--config\", \"/local/wasm-sock.toml\"]\n        ports           = [{}, \
         \"metrics\"]\n        readonly_rootfs = true\n        cap_drop        = [\"all\"]\n        security_opt    = \
         [\"no-new-privileges\"]\n",
        subject.grace(),
        quoted(image),
        ports.join(", ")
    );
    if let Some(lowest) = subject
        .ports
        .iter()
        .map(|port| port.number)
        .filter(|port| *port < 1024)
        .min()
    {
        let _ = writeln!(
            text,
            "        sysctl          = {{ \"net.ipv4.ip_unprivileged_port_start\" = \"{lowest}\" }}"
        );
    }
    text += "      }\n";
    text += &mounts(subject);
    text += "\n      env {\n        RUNTIME_DIRECTORY = \"/alloc/tmp\"\n";
    if !subject.secrets().is_empty() {
        text += "        CREDENTIALS_DIRECTORY = \"/secrets\"\n";
    }
    if settings::is_stateful(subject) {
        let _ = writeln!(text, "        STATE_DIRECTORY = {}", quoted(settings::STATE));
    }
    text += "      }\n";
    text += &template(&settings::text(subject)?, "local/wasm-sock.toml", "signal");
    for key in subject.secrets() {
        let value = format!(
            "{{{{ with nomadVar \"nomad/jobs/{}\" }}}}{{{{ index . {} }}}}{{{{ end }}}}",
            subject.label,
            quoted(&key)
        );
        let _ = write!(
            text,
            "\n      template {{\n        data        = {}\n        destination = {}\n        perms       = \"0400\"\n        \
             uid         = {USER}\n        change_mode = \"restart\"\n      }}\n",
            escaped(&quoted(&value)),
            quoted(&format!("secrets/{key}"))
        );
    }
    let _ = write!(
        text,
        "\n      resources {{\n        cpu    = 50\n        memory = {}\n      }}\n    }}\n",
        subject.memory() >> 20
    );
    Ok(text)
}

fn mounts(subject: &Subject) -> String {
    let mount = |volume: &str, path: &str| {
        format!(
            "\n      volume_mount {{\n        volume      = {}\n        destination = {}\n      }}\n",
            quoted(volume),
            quoted(path)
        )
    };
    let mut text = String::new();
    if settings::is_stateful(subject) {
        text += &mount("state", settings::STATE);
    }
    for (number, directory) in subject.handler.dirs.iter().enumerate() {
        text += &mount(&format!("dir{number}"), &directory.host.to_string_lossy());
    }
    text
}

/// A file with this text. Neither HCL nor Nomad's templates find anything to replace in it.
fn template(content: &str, destination: &str, change: &str) -> String {
    let mut end = "EOT".to_owned();
    while content.contains(&end) {
        end.push('_');
    }
    let content = escaped(content).replace("{{", "{{ \"{{\" }}");
    format!(
        "\n      template {{\n        destination   = {}\n        change_mode   = \"{change}\"\n        change_signal = \
         \"SIGHUP\"\n        data          = <<{end}\n{}\n{end}\n      }}\n",
        quoted(destination),
        content.trim_end()
    )
}

/// Text in which HCL finds no template.
fn escaped(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}
