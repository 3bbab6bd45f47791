//! Manifests for Kubernetes, with containerd's Wasm shim for Wasmtime (<https://runwasi.dev>): the image is the module.
//! There is none of our programs in it, and so none of our limits.

use super::subject::{Port, Subject};
use super::{command, comment, kubernetes, losses, quoted};
use std::fmt::Write as _;

/// The manifests, for `kubectl apply -f -`.
///
/// # Errors
/// When the shim cannot serve it: it serves HTTP at one port.
pub fn manifest(subject: &Subject, image: &str, class: &str) -> Result<String, String> {
    let name = &subject.name;
    if !subject.is_http {
        return Err(format!(
            "{name}: containerd's shims serve HTTP components only (leave out --runtime-class, for our own image)"
        ));
    }
    let tcp = subject.ports.iter().filter(|port| !port.is_udp);
    let [port] = tcp.collect::<Vec<_>>()[..] else {
        return Err(format!(
            "{name}: containerd's shims serve one port (`listen` has another number)"
        ));
    };
    let mut text = comment(&format!(
        "{name}, by `wasm-sock export kubernetes --runtime-class {class}`. The image is the module itself:"
    ));
    text += &command(&format!("wasm-sock push {} oci://{image}", subject.module.display()));
    text += &losses("The shim", &lost(subject));
    let handler = quoted(class);
    let _ = write!(
        text,
        "---\napiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: {handler}\nhandler: {handler}\n"
    );
    text += &deployment(subject, image, class, *port);
    text += &kubernetes::service(&subject.label, &[*port]);
    Ok(text)
}

fn lost(subject: &Subject) -> Vec<String> {
    let mut lost = subject.lost();
    let limits = &subject.handler.limits;
    lost.push(format!(
        "the limits of one request: memory ({} MiB), timeout, cpu-time, max-connections ({}), \
         max-connections-per-source, max-body and max-output",
        limits.memory >> 20,
        limits.max_connections
    ));
    lost.push("the log line for each request, and the counters".to_owned());
    for key in ["allow-outbound", "dirs", "config", "secrets", "keyvalue"] {
        if subject.table.contains_key(key) {
            lost.push(key.to_owned());
        }
    }
    lost
}

fn deployment(subject: &Subject, image: &str, class: &str, port: Port) -> String {
    let label = &subject.label;
    let (name, number) = (port.name(), port.number);
    let mut text = format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {label}\n  labels: {{app.kubernetes.io/name: \
         {label}}}\nspec:\n  replicas: 1\n  selector:\n    matchLabels: {{app.kubernetes.io/name: {label}}}\n  template:\n    \
         metadata:\n      labels: {{app.kubernetes.io/name: {label}}}\n    spec:\n      runtimeClassName: {}\n      \
         automountServiceAccountToken: false\n      enableServiceLinks: false\n      terminationGracePeriodSeconds: {}\n      \
         containers:\n        - name: {label}\n          image: {}\n          env:\n            - {{name: \
         WASMTIME_HTTP_PROXY_SOCKET_ADDR, value: \"0.0.0.0:{number}\"}}\n",
        quoted(class),
        subject.grace(),
        quoted(image)
    );
    for (key, value) in &subject.handler.env {
        let _ = writeln!(
            text,
            "            - {{name: {}, value: {}}}",
            quoted(key),
            quoted(value)
        );
    }
    let _ = write!(
        text,
        "          ports:\n            - {{name: {name}, containerPort: {number}}}\n          # A connection that asks for \
         nothing: no guest runs for it.\n          readinessProbe: {{tcpSocket: {{port: {name}}}, periodSeconds: 5}}\n          \
         resources:\n            limits: {{memory: {}Mi}}\n",
        subject.memory() >> 20
    );
    text
}
