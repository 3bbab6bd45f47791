//! The counters, as Prometheus gets them: from the socket named `metrics`, and by way of node_exporter's textfile
//! collector. With a real Prometheus, and the queries of the dashboard in docs/.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use harness::systemctl::{Service, Socket, checkout, install, install_guest, output};
use harness::{eventually, skip};
use serde_json::Value;

/// The service of the socket named `metrics`, and its socket.
fn metrics(name: &str) -> (Service, Socket) {
    install();
    let service = Service::of_template(name, "--idle-timeout 30s");
    let socket = service.listen(&format!("wasm-sock@{name}.socket"), "FileDescriptorName=metrics");
    (service, socket)
}

/// A handler that has clients, and its socket.
fn busy(name: &str) -> (Service, Socket) {
    install_guest(&format!("{name}.cwasm"), "http-hello");
    let service = Service::of_template(name, "--idle-timeout 1s");
    let socket = service.listen(&format!("wasm-sock@{name}.socket"), "");
    (service, socket)
}

fn curl(arguments: &[&str]) -> String {
    output(
        Command::new("curl")
            .args(["-s", "-S", "--max-time", "10"])
            .args(arguments),
    )
}

/// A program of the Debian package `prometheus`, which is only unpacked (tools/setup), or installed.
fn program(name: &str) -> Option<PathBuf> {
    let unpacked = checkout().join("build/servers/usr/bin").join(name);
    [unpacked, PathBuf::from("/usr/bin").join(name)]
        .into_iter()
        .find(|path| path.exists())
}

#[test]
fn a_scrape_is_answered_by_the_host_itself_which_then_exits() {
    let (service, socket) = metrics("scraped");
    let (_busy, web) = busy("scrape-busy");
    curl(&[&web.address.url("/")]);
    let url = socket.address.url("/metrics");
    eventually("the request was counted", || {
        curl(&[&url]).contains("wasm_sock_served_total{handler=\"scrape-busy\",outcome=\"ok\"} 1\n")
    });
    let head = curl(&["-i", &url]);
    assert!(
        head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let open = curl(&["-i", "-H", accept, &url]);
    assert!(
        open.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{open}"
    );
    assert!(open.ends_with("\n# EOF\n"), "{open}");
    let status = |more: &[&str]| curl(&[&["-o", "/dev/null", "-w", "%{http_code}"], more].concat());
    assert_eq!(status(&[&socket.address.url("/other")]), "404");
    assert_eq!(status(&["-X", "DELETE", &url]), "405");
    // Long before its idle timeout.
    service.wait_until_asleep();
    service.assert_never_failed();
}

#[test]
fn only_the_host_that_answers_may_read_the_counters() {
    install();
    let printed = |name: &str| {
        let script = format!(
            "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name} RUNTIME_DIRECTORY=/run/wasm-sock \
             exec /usr/bin/wasm-sock host --print-sandbox 3<>/dev/null"
        );
        output(Command::new("bash").args(["-c", &script]))
    };
    let directory = "/run/wasm-sock/stats";
    assert!(printed("metrics").contains(directory), "{}", printed("metrics"));
    assert!(!printed("other").contains(directory), "{}", printed("other"));
}

#[test]
fn the_host_describes_a_socket_that_it_answers_itself() {
    install();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("wasm-sock.toml");
    fs::write(&config, "[handler.metrics]\nlisten = \"127.0.0.1:9171\"\n").unwrap();
    let mut describe = Command::new("/usr/bin/wasm-sock");
    describe
        .args(["describe", "--config"])
        .arg(&config)
        .args(["--", "metrics"]);
    let described = output(&mut describe);
    assert!(
        described.contains("\"kind\":\"metrics (the host answers)\""),
        "{described}"
    );
}

/// Checks text as Prometheus would read it.
fn check(text: &str) {
    let Some(promtool) = program("promtool") else {
        return skip("the package prometheus");
    };
    let mut check = Command::new(promtool);
    check
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut check = check.spawn().unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let result = check.wait_with_output().unwrap();
    let said = [result.stdout, result.stderr].concat();
    assert!(
        result.status.success() && said.is_empty(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}

#[test]
fn the_textfile_is_replaced_whole_and_is_what_promtool_accepts() {
    let (_busy, web) = busy("textfile-busy");
    curl(&[&web.address.url("/")]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("wasm-sock.prom");
    fs::write(&file, "old").unwrap();
    let mut write = Command::new("/usr/bin/wasm-sock");
    output(write.arg("metrics").arg("--textfile").arg(&file));
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.contains("wasm_sock_activations_total{handler=\"textfile-busy\"} 1\n"),
        "{text}"
    );
    check(&text);
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 1, "nothing unfinished is left behind");
}

/// A Prometheus that scrapes this address every second.
struct Prometheus {
    process: Child,
    _data: tempfile::TempDir,
}

const PROMETHEUS: &str = "127.0.0.1:29090";

impl Prometheus {
    fn start(target: &str) -> Option<Self> {
        let data = tempfile::tempdir().unwrap();
        let config = data.path().join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: wasm-sock\n    static_configs:\n      - targets: [\"{target}\"]\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(program("prometheus")?);
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", data.path().join("data").display()));
        command.arg(format!("--web.listen-address={PROMETHEUS}"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        Some(Self { process, _data: data })
    }

    /// The values that a query returns.
    fn query(&self, query: &str) -> Vec<f64> {
        let mut command = Command::new("curl");
        command.args(["-s", "--data-urlencode", &format!("query={query}")]);
        command.arg(format!("http://{PROMETHEUS}/api/v1/query"));
        let answer = command.output().unwrap().stdout;
        let Ok(answer) = serde_json::from_slice::<Value>(&answer) else {
            return Vec::new();
        };
        assert_ne!(answer["status"], "error", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let values = series
            .iter()
            .filter_map(|series| series["value"][1].as_str()?.parse().ok());
        values.collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn prometheus_scrapes_it_and_every_query_of_the_dashboard_has_data() {
    let (service, socket) = metrics("prometheus");
    let (_busy, web) = busy("dashboard-busy");
    check(&curl(&[&socket.address.url("/metrics")]));
    let Some(prometheus) = Prometheus::start(&format!("127.0.0.1:{}", socket.address.port())) else {
        return skip("the package prometheus");
    };
    eventually("two scrapes succeeded", || {
        prometheus
            .query("sum_over_time(up[1h])")
            .first()
            .is_some_and(|ups| *ups >= 2.0)
    });
    let dashboard = fs::read_to_string(checkout().join("docs/grafana-dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(queries.len() >= 16, "{queries:?}");
    for query in queries {
        let asked = query.replace("$__rate_interval", "10s").replace("$handler", ".*");
        eventually(&format!("{query} returned data"), || {
            curl(&[&web.address.url("/")]);
            let values = prometheus.query(&asked);
            !values.is_empty() && values.iter().all(|value| value.is_finite())
        });
    }
    service.assert_never_failed();
}
