//! Runs of handlers without a client: `schedule`.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

use harness::eventually;
use harness::handlers::Handler;
use harness::systemctl::{output, property, systemctl};

const SYSTEM: &str = "/etc/systemd/system";

/// What a run does instead of the handler's own, which is not the subject here.
fn each_run(handler: &str, command: &str) {
    let folder = format!("{SYSTEM}/wasm-sock-exec@{handler}.service.d");
    fs::create_dir_all(&folder).unwrap();
    let start = format!("[Service]\nExecStart=\nExecStart={command}\nUser=root\n");
    fs::write(format!("{folder}/test.conf"), start).unwrap();
}

/// A timer is exact, which it is not by default, in order to save power.
fn exact(handler: &str) {
    let folder = format!("{SYSTEM}/wasm-sock@{handler}.timer.d");
    fs::create_dir_all(&folder).unwrap();
    fs::write(format!("{folder}/test.conf"), "[Timer]\nAccuracySec=1ms\n").unwrap();
}

#[test]
fn a_schedule_is_a_timer_with_all_its_settings() {
    let lines = "schedule = ['daily', 'Mon *-*-* 03:00']\nschedule-jitter = '5min'";
    let _handler = Handler::started("sdaily", lines, &["wasm-sock@sdaily.timer"]);
    let timer = "wasm-sock@sdaily.timer";
    let events = property(timer, "TimersCalendar");
    for event in ["OnCalendar=*-*-* 00:00:00", "OnCalendar=Mon *-*-* 03:00:00"] {
        assert!(events.contains(event), "{events}");
    }
    assert_eq!(property(timer, "RandomizedDelayUSec"), "5min");
    assert_eq!(property(timer, "Persistent"), "yes");
    let listed = systemctl(&["list-timers", "--no-legend"]);
    let listed = listed
        .lines()
        .find(|line| line.contains(timer))
        .expect("the timer is listed");
    assert!(listed.ends_with("wasm-sock-exec@sdaily.service"), "{listed}");
    assert!(fs::metadata("/run/systemd/generator/timers.target.wants/wasm-sock@sdaily.timer").is_ok());
}

#[test]
fn a_run_gets_the_handlers_name_its_path_and_its_input() {
    let lines = "schedule = 'daily'\nschedule-path = '/a%20b?$HOME'\nschedule-input = '/srv/a \"%n\" b'";
    let _handler = Handler::new("s $HOME%n", lines);
    systemctl(&["daemon-reload"]);
    let unit = output(Command::new("systemd-escape").args(["--template=wasm-sock-exec@.service", "s $HOME%n"]));
    let run = property(unit.trim(), "ExecStart");
    let arguments = "argv[]=/usr/bin/wasm-sock exec --path /a%20b?$HOME --input /srv/a \"%n\" b -- s $HOME%n ;";
    assert!(run.contains(arguments), "{run}");
    let _plain = Handler::new("splain", "schedule = 'daily'");
    systemctl(&["daemon-reload"]);
    let run = property("wasm-sock-exec@splain.service", "ExecStart");
    assert!(run.contains("argv[]=/usr/bin/wasm-sock exec -- splain ;"), "{run}");
}

#[test]
fn a_run_reads_its_input_and_what_the_guest_prints_is_in_the_journal() {
    let input = "/srv/srun-input";
    fs::write(input, "a line that comes back\n").unwrap();
    let _handler = Handler::new("srun", &format!("schedule = 'daily'\nschedule-input = '{input}'"));
    systemctl(&["daemon-reload"]);
    let unit = "wasm-sock-exec@srun.service";
    systemctl(&["start", unit]);
    assert_eq!(property(unit, "Result"), "success");
    output(Command::new("journalctl").arg("--sync"));
    let journal = output(Command::new("journalctl").args(["-q", "-o", "cat", "-u", unit]));
    assert!(
        journal.lines().any(|line| line == "a line that comes back"),
        "{journal}"
    );
}

#[test]
fn a_run_that_was_missed_is_made_up_for() {
    each_run("smissed", "/usr/bin/touch /run/smissed-ran");
    let _handler = Handler::new("smissed", "schedule = 'daily'");
    systemctl(&["daemon-reload"]);
    // The machine was off: the last run is three days ago.
    let stamp = "/var/lib/systemd/timers/stamp-wasm-sock@smissed.timer";
    fs::create_dir_all("/var/lib/systemd/timers").unwrap();
    let file = fs::File::create(stamp).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3 * 86_400))
        .unwrap();
    systemctl(&["start", "wasm-sock@smissed.timer"]);
    eventually("the missed run was made up for", || {
        fs::metadata("/run/smissed-ran").is_ok()
    });

    each_run("sskipped", "/usr/bin/touch /run/sskipped-ran");
    let _handler = Handler::new("sskipped", "schedule = 'daily'\nschedule-persistent = false");
    systemctl(&["daemon-reload"]);
    systemctl(&["start", "wasm-sock@sskipped.timer"]);
    assert_eq!(property("wasm-sock@sskipped.timer", "Persistent"), "no");
    assert!(fs::metadata("/run/sskipped-ran").is_err());
}

#[test]
fn runs_do_not_overlap() {
    exact("soverlap");
    let run = "/bin/sh -c 'mkdir /run/soverlap || echo overlap >>/run/soverlaps; echo run >>/run/soverlap-runs; sleep 2; \
               rmdir /run/soverlap'";
    each_run("soverlap", run);
    let _handler = Handler::started("soverlap", "schedule = '*:*:*'", &["wasm-sock@soverlap.timer"]);
    let runs = || {
        fs::read_to_string("/run/soverlap-runs")
            .unwrap_or_default()
            .lines()
            .count()
    };
    eventually("it ran three times", || runs() >= 3);
    assert!(fs::metadata("/run/soverlaps").is_err(), "two runs at the same time");
}

#[test]
fn words_that_systemd_does_not_understand_leave_the_other_events() {
    let _some = Handler::new("ssome", "schedule = ['dayly', 'weekly']");
    let _none = Handler::new("snone", "schedule = 'dayly'\nlisten = '24300'");
    systemctl(&["daemon-reload"]);
    let (some, none) = ("wasm-sock@ssome.timer", "wasm-sock@snone.timer");
    assert!(property(some, "TimersCalendar").contains("OnCalendar=Mon *-*-* 00:00:00"));
    assert_eq!(property(none, "LoadState"), "bad-setting");
    assert_eq!(property("wasm-sock@snone.socket", "LoadState"), "loaded");
}
