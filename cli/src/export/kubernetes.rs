//! Manifests for Kubernetes, with our container image: settings, state, a deployment and its service.
//!
//! Checked against the schemas of Kubernetes 1.30 and later (`tests/tests/export.rs`).

use super::container::USER;
use super::subject::{METRICS, Port, Subject};
use super::{command, comment, losses, quoted, settings};
use std::fmt::Write as _;

/// Where secrets are in the container.
const CREDENTIALS: &str = "/run/credentials/wasm-sock";

/// The first port that is not root's.
const FIRST_USER_PORT: u16 = 1024;

/// How long a pod still accepts after it was told to end, in seconds: until all nodes know.
const SPREAD: u64 = 5;

/// The manifests, for `kubectl apply -f -`.
///
/// # Errors
/// When the settings cannot be written.
pub fn manifest(subject: &Subject, image: &str) -> Result<String, String> {
    let mut text = header(subject);
    text += &config_map(subject)?;
    if settings::is_stateful(subject) {
        text += &claim(&format!("{}-state", subject.label), "ReadWriteOnce");
    }
    text += &deployment(subject, image);
    text += &service(&subject.label, &subject.ports);
    Ok(text)
}

fn header(subject: &Subject) -> String {
    let name = &subject.name;
    let mut text = comment(&format!("{name}, by `wasm-sock export kubernetes`."));
    text += &losses("Kubernetes", &subject.lost());
    text += &comment(
        "All limits of the configuration are kept: the host in the container enforces them. It confines itself, too, \
         if the node's kernel has Landlock; require-sandbox = true in [host] insists on it.",
    );
    let secrets = subject.secrets();
    if !secrets.is_empty() {
        let files: Vec<String> = secrets.iter().map(|key| format!("--from-file={key}")).collect();
        text += &comment("The secrets are not in here. From a file of that name each:");
        let files = files.join(" ");
        text += &command(&format!(
            "kubectl create secret generic {}-secrets {files}",
            subject.label
        ));
    }
    text += &settings::warnings(subject);
    for directory in &subject.handler.dirs {
        let path = directory.host.display();
        text += &comment(&format!(
            "{path} is a claim below; fill it with what is there on this machine."
        ));
    }
    if settings::is_stateful(subject) {
        text += &comment(
            "The embedded store belongs to one pod: replicas stays 1. For more, keep the state in a server: \
             keyvalue = { default = \"redis://…\" }.",
        );
    }
    text
}

fn config_map(subject: &Subject) -> Result<String, String> {
    let (kind, data) = match settings::passwords(subject).is_empty() {
        true => ("ConfigMap", "data"),
        false => ("Secret", "stringData"),
    };
    let mut text = format!(
        "---\napiVersion: v1\nkind: {kind}\nmetadata:\n  name: {0}\n  labels: {{app.kubernetes.io/name: {0}}}\n\
         {data}:\n  wasm-sock.toml: |\n",
        subject.label
    );
    for line in settings::text(subject)?.lines() {
        let indented = if line.is_empty() {
            "\n".to_owned()
        } else {
            format!("    {line}\n")
        };
        text += &indented;
    }
    Ok(text)
}

fn claim(name: &str, mode: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata:\n  name: {name}\nspec:\n  \
         accessModes: [{mode}]\n  resources:\n    requests: {{storage: 1Gi}}\n"
    )
}

/// A folder of the container.
struct Mount {
    name: String,
    path: String,
    /// What it is, as YAML.
    source: String,
    is_read_only: bool,
}

fn mounts(subject: &Subject) -> Vec<Mount> {
    let mount = |name: &str, path: &str, source: String, is_read_only| Mount {
        name: name.to_owned(),
        path: path.to_owned(),
        source,
        is_read_only,
    };
    let label = &subject.label;
    let config = match settings::passwords(subject).is_empty() {
        true => format!("configMap: {{name: {label}}}"),
        false => format!("secret: {{secretName: {label}}}"),
    };
    let mut mounts = vec![
        mount("config", "/etc/wasm-sock", config, true),
        mount(
            "run",
            "/run/wasm-sock",
            "emptyDir: {medium: Memory, sizeLimit: 16Mi}".to_owned(),
            false,
        ),
        mount(
            "cache",
            "/var/cache/wasm-sock",
            "emptyDir: {sizeLimit: 512Mi}".to_owned(),
            false,
        ),
        mount("tmp", "/tmp", "emptyDir: {sizeLimit: 64Mi}".to_owned(), false),
    ];
    if !subject.secrets().is_empty() {
        let items: Vec<String> = subject
            .secrets()
            .iter()
            .map(|key| format!("{{key: {0}, path: {0}}}", quoted(key)))
            .collect();
        let secret = format!(
            "secret: {{secretName: {label}-secrets, defaultMode: 0440, items: [{}]}}",
            items.join(", ")
        );
        mounts.push(mount("secrets", CREDENTIALS, secret, true));
    }
    if settings::is_stateful(subject) {
        let source = format!("persistentVolumeClaim: {{claimName: {label}-state}}");
        mounts.push(mount("state", settings::STATE, source, false));
    }
    for (number, directory) in subject.handler.dirs.iter().enumerate() {
        let name = format!("dir-{number}");
        let source = format!("persistentVolumeClaim: {{claimName: {label}-{name}}}");
        let is_read_only = directory.access == wasm_sock_config::Access::ReadOnly;
        mounts.push(mount(&name, &directory.host.to_string_lossy(), source, is_read_only));
    }
    mounts
}

fn deployment(subject: &Subject, image: &str) -> String {
    let label = &subject.label;
    let strategy = if settings::is_stateful(subject) {
        "Recreate"
    } else {
        "RollingUpdate"
    };
    let mut text = format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {label}\n  labels: {{app.kubernetes.io/name: \
         {label}}}\nspec:\n  replicas: 1\n  strategy: {{type: {strategy}}}\n  selector:\n    matchLabels: \
         {{app.kubernetes.io/name: {label}}}\n  template:\n    metadata:\n      labels: {{app.kubernetes.io/name: \
         {label}}}\n      annotations: {{prometheus.io/scrape: \"true\", prometheus.io/port: \"{METRICS}\"}}\n    spec:\n      \
         automountServiceAccountToken: false\n      enableServiceLinks: false\n      \
         terminationGracePeriodSeconds: {}\n      securityContext:\n        runAsNonRoot: true\n        \
         runAsUser: {USER}\n        runAsGroup: {USER}\n        fsGroup: {USER}\n        \
         seccompProfile: {{type: RuntimeDefault}}\n",
        subject.grace() + SPREAD
    );
    if let Some(lowest) = subject
        .ports
        .iter()
        .map(|port| port.number)
        .filter(|port| *port < FIRST_USER_PORT)
        .min()
    {
        // A safe one: it counts in the pod's own network only.
        let _ = writeln!(
            text,
            "        sysctls: [{{name: net.ipv4.ip_unprivileged_port_start, value: \"{lowest}\"}}]"
        );
    }
    text += &container(subject, image);
    text += "      volumes:\n";
    for Mount { name, source, .. } in mounts(subject) {
        let _ = writeln!(text, "        - name: {name}\n          {source}");
    }
    text
}

fn container(subject: &Subject, image: &str) -> String {
    let memory = subject.memory() >> 20;
    let mut text = format!(
        "      containers:\n        - name: wasm-sock\n          image: {}\n          args: [serve, --log-format, json]\n          \
         env:\n            - {{name: RUNTIME_DIRECTORY, value: /run/wasm-sock}}\n            - {{name: CACHE_DIRECTORY, \
         value: /var/cache/wasm-sock}}\n",
        quoted(image)
    );
    if !subject.secrets().is_empty() {
        let _ = writeln!(
            text,
            "            - {{name: CREDENTIALS_DIRECTORY, value: {CREDENTIALS}}}"
        );
    }
    if settings::is_stateful(subject) {
        let _ = writeln!(
            text,
            "            - {{name: STATE_DIRECTORY, value: {}}}",
            settings::STATE
        );
    }
    text += "          ports:\n";
    for port in &subject.ports {
        let _ = writeln!(
            text,
            "            - {{name: {}, containerPort: {}{}}}",
            port.name(),
            port.number,
            protocol(*port)
        );
    }
    let _ = writeln!(text, "            - {{name: metrics, containerPort: {METRICS}}}");
    let probe = "httpGet: {path: /metrics, port: metrics}";
    let _ = write!(
        text,
        "          # The host itself answers these: no guest runs for them.\n          readinessProbe: {{{probe}, \
         periodSeconds: 5}}\n          livenessProbe: {{{probe}, periodSeconds: 20, failureThreshold: 3}}\n          \
         lifecycle: {{preStop: {{sleep: {{seconds: {SPREAD}}}}}}}\n          resources:\n            requests: {{cpu: 10m, \
         memory: 32Mi}}\n            limits: {{memory: {memory}Mi}}\n          securityContext:\n            \
         allowPrivilegeEscalation: false\n            readOnlyRootFilesystem: true\n            capabilities: {{drop: \
         [ALL]}}\n          volumeMounts:\n"
    );
    for mount in mounts(subject) {
        let read_only = if mount.is_read_only { ", readOnly: true" } else { "" };
        let path = quoted(&mount.path);
        let _ = writeln!(
            text,
            "            - {{name: {}, mountPath: {path}{read_only}}}",
            mount.name
        );
    }
    text
}

fn protocol(port: Port) -> &'static str {
    if port.is_udp { ", protocol: UDP" } else { "" }
}

/// The service in front of pods with this label.
pub fn service(label: &str, ports: &[Port]) -> String {
    let mut text = format!(
        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: {label}\n  labels: {{app.kubernetes.io/name: {label}}}\n\
         spec:\n  selector: {{app.kubernetes.io/name: {label}}}\n  ports:\n"
    );
    for port in ports {
        let (name, number) = (port.name(), port.number);
        let _ = writeln!(
            text,
            "    - {{name: {name}, port: {number}, targetPort: {name}{}}}",
            protocol(*port)
        );
    }
    text
}
