//! The rules of the house that a compiler does not keep: who may name what, where SQL lies, how files begin and end.
//!
//! Each rule names its exceptions, so that a new one is a decision and not an accident.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use kmsnotif::cli::Cli;

/// Files above this length ask for a second room.
const LINES_MAX: usize = 400;

struct File {
    /// From the repository's root.
    path: String,
    text: String,
}

impl File {
    /// The lines that are neither comment nor unit test, numbered from 1.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        let lines = lines.take_while(|(_, line)| *line != "mod tests {");
        lines.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap();
        name == "tests.rs"
            || name.ends_with("_test.rs")
            || self.path.starts_with("tests/")
            || self.path.contains("/tests/")
    }

    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || (place.ends_with('/') && self.path.starts_with(place)))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under these folders.
fn files(folders: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut found);
    }
    found.sort();
    assert!(!found.is_empty());
    found
        .into_iter()
        .map(|path| File {
            text: fs::read_to_string(&path).unwrap(),
            path: path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
        })
        .collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Panics with every line of code outside of `places` that contains one of `words`.
fn assert_only_in(places: &[&str], words: &[&str], files: &[File], rule: &str) {
    let mut broken = Vec::new();
    for file in files.iter().filter(|file| !file.is_in(places)) {
        for (number, line) in file.code() {
            if words.iter().any(|word| line.contains(word)) {
                broken.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    assert!(broken.is_empty(), "{rule}:\n{}", broken.join("\n"));
}

fn sources() -> Vec<File> {
    files(&["src"]).into_iter().filter(|file| !file.is_test()).collect()
}

#[test]
fn only_the_queue_and_the_workers_start_name_apalis() {
    assert_only_in(
        &["src/queue/", "src/worker.rs"],
        &["apalis::", "apalis_core"],
        &sources(),
        "apalis is the queue's affair",
    );
}

#[test]
fn redis_is_spoken_to_in_named_places_only() {
    // worker.rs opens the client, notification/mod.rs hands it on; neither sends a command. Bench and demo look on
    // from outside, as a producer and a consumer of events do; doctor asks whether Redis is set up well.
    let places = [
        "src/queue/",
        "src/worker.rs",
        "src/notification/mod.rs",
        "src/bench/",
        "src/cli/demo/",
        "src/cli/doctor.rs",
        "src/cli/doctor/",
    ];
    assert_only_in(&places, &["redis::", "use redis"], &sources(), "Redis is spoken to by the queue");
    let words = ["redis::cmd", "redis::pipe", "AsyncCommands", "redis::Script"];
    assert_only_in(
        &["src/queue/", "src/bench/", "src/cli/demo/", "src/cli/doctor/"],
        &words,
        &sources(),
        "commands of Redis are the queue's",
    );
}

#[test]
fn http_to_meta_is_whatsapps_affair() {
    assert_only_in(&["src/whatsapp/exchange.rs"], &["hyper_util::client"], &sources(), "messages leave in one place");
    // Spans go to a collector, and the simulator's events to the web; no patient's data is in the one, nor a real one's
    // in the other. People log in by a provider, who is told nothing but a code of its own.
    let places = ["src/simulator/", "src/telemetry/trace.rs", "src/people/oidc/"];
    assert_only_in(&places, &["reqwest"], &sources(), "messages leave by whatsapp's client");
}

#[test]
fn only_mail_names_lettre_and_mail_is_a_leaf() {
    assert_only_in(&["src/mail/"], &["lettre::"], &sources(), "handing mail over is mail's affair");
    let mail: Vec<File> = sources().into_iter().filter(|file| file.path.starts_with("src/mail/")).collect();
    let words = ["crate::credit", "crate::notification", "crate::whatsapp", "crate::queue", "crate::web", "crate::cli"];
    assert_only_in(&[], &words, &mail, "whoever writes mails knows mail, and not the other way round");
}

#[test]
fn sql_lies_in_stores_only() {
    let files: Vec<File> = sources()
        .into_iter()
        .filter(|file| !file.path.ends_with("/store.rs") && !file.path.contains("/store/"))
        .collect();
    let words = ["sqlx::query", "query_as(", "query_scalar(", "QueryBuilder", "sqlx::raw_sql"];
    assert_only_in(&[], &words, &files, "SQL lies in a capability's store.rs or store/");
}

#[test]
fn every_transaction_that_writes_begins_with_limits() {
    // A statement is read at one moment, and writes nothing.
    let places = ["src/database.rs", "src/credit/ledger/store/statement.rs"];
    let words = ["pool.begin()", "begin_with(\"", "begin_with(&"];
    assert_only_in(&places, &words, &sources(), "transactions begin by src/database.rs");
    let named = ["crate::audit", "crate::credit", "crate::notification", "crate::tenant"];
    let database: Vec<File> = sources().into_iter().filter(|file| file.path == "src/database.rs").collect();
    assert_only_in(&[], &named, &database, "it is a leaf");
}

#[test]
fn only_config_reads_the_environment() {
    let words = ["env::var", "env::set_var", "dotenv"];
    assert_only_in(&["src/config.rs", "src/config/"], &words, &sources(), "the environment is read by config.rs");
}

#[test]
fn the_producer_contract_imports_no_io() {
    let files: Vec<File> = files(&["jobs/src"]);
    let words = ["redis", "tokio", "std::net", "std::fs", "std::io", "std::env", "reqwest", "sqlx", "std::process"];
    assert_only_in(&["jobs/src/producer.rs", "jobs/src/lib.rs"], &words, &files, "jobs/ without features does no I/O");
    let manifest = fs::read_to_string(root().join("jobs/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    for (name, dependency) in manifest["dependencies"].as_table().unwrap() {
        if ["redis", "tokio"].contains(&name.as_str()) {
            assert_eq!(dependency.get("optional").and_then(toml::Value::as_bool), Some(true), "{name} is optional");
        }
        assert_ne!(name, "kmsnotif", "jobs/ depends on no other part of the service");
    }
}

#[test]
fn the_web_never_sends_to_a_patient() {
    let words = ["whatsapp::Client", "Outgoing", "notification::process", "whatsapp::{", "Pipeline"];
    let web: Vec<File> = sources().into_iter().filter(|file| file.path.starts_with("src/web/")).collect();
    assert_only_in(&[], &words, &web, "the web stores and shows");
}

#[test]
fn the_queue_knows_nothing_of_notifications() {
    let words =
        ["crate::notification", "crate::tenant", "crate::credit", "crate::whatsapp", "crate::render", "kmsnotif_jobs"];
    let queue: Vec<File> = sources().into_iter().filter(|file| file.path.starts_with("src/queue/")).collect();
    assert_only_in(&[], &words, &queue, "a payload is bytes");
}

#[test]
fn capabilities_meet_in_notification_and_nowhere_else() {
    let folders = [
        "src/api_key/",
        "src/audit/",
        "src/credit/",
        "src/job_outbox/",
        "src/opt_out/",
        "src/tenant/",
        "src/render/",
        "src/queue/",
        "src/secret/",
        "src/sender/",
        "src/template/",
        "src/config/",
        "src/reminder/",
    ];
    let files: Vec<File> = sources().into_iter().filter(|file| file.is_in(&folders)).collect();
    let words = ["crate::notification", "crate::web", "crate::cli", "crate::worker", "crate::scheduler"];
    assert_only_in(&[], &words, &files, "dependencies point from the entry to the plain types");
}

#[test]
fn whoever_writes_a_job_of_ours_writes_it_into_the_outbox() {
    let folders = ["src/credit/", "src/job_outbox/", "src/reminder/", "src/tenant/"];
    let files: Vec<File> = sources().into_iter().filter(|file| file.is_in(&folders)).collect();
    assert_only_in(&[], &["crate::queue", "Producer"], &files, "a job enqueued past its transaction can be lost");
}

#[test]
fn every_file_opens_with_its_purpose() {
    let silent: Vec<String> = files(&["src", "jobs", "tests", "benches"])
        .into_iter()
        .filter(|file| !file.text.trim_start_matches("#!/usr/bin/env").starts_with("//!"))
        .map(|file| file.path)
        .collect();
    assert!(silent.is_empty(), "these do not open with //!: {silent:#?}");
}

#[test]
fn modules_are_named_by_the_words_of_the_field() {
    let vague = [
        "util", "utils", "common", "helper", "helpers", "core", "types", "models", "manager", "service", "handler",
        "misc",
    ];
    for file in files(&["src", "jobs/src", "tests"]) {
        let named = file.path.trim_end_matches(".rs").split('/').find(|part| vague.contains(part));
        assert_eq!(named, None, "{} says nothing", file.path);
        for (number, line) in file.code() {
            let name = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").strip_prefix("mod ");
            let name = name.map(|rest| rest.trim_end_matches([' ', '{', ';']));
            assert!(name.is_none_or(|name| !vague.contains(&name)), "{}:{number}: {line}", file.path);
        }
    }
}

#[test]
fn files_stay_short_enough_to_be_read() {
    let mut long = Vec::new();
    for file in files(&["src", "jobs/src", "tests"]) {
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            long.push(format!("{} has {lines} lines, {LINES_MAX} at most", file.path));
        }
    }
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn the_procfile_the_commands_and_the_map_say_the_same() {
    let procfile = fs::read_to_string(root().join("Procfile")).unwrap();
    let map = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let cli = Cli::command();
    let mut processes = Vec::new();
    for line in procfile.lines().filter(|line| !line.is_empty()) {
        let (process, command) = line.split_once(':').unwrap();
        let command = command.trim();
        let name = command.strip_prefix("kmsnotif ").unwrap();
        assert!(cli.find_subcommand(name).is_some(), "Procfile: {command} is no command");
        let row = format!("| `{process}` | `{command}` |");
        assert!(map.contains(&row), "docs/ARCHITECTURE.md has no row {row}");
        processes.push(process);
    }
    assert_eq!(processes, ["release", "web", "worker", "scheduler"]);
    let rows = map.lines().filter(|line| line.starts_with("| `") && line.contains("| `kmsnotif ")).count();
    assert_eq!(rows, processes.len(), "docs/ARCHITECTURE.md lists another process");
}

/// Every remedy that names a chapter of OPERATIONS.md names one that is there.
#[test]
fn remedies_point_to_chapters_that_exist() {
    const PAGE: &str = "docs/OPERATIONS.md#";
    let page = fs::read_to_string(root().join("docs/OPERATIONS.md")).unwrap();
    let anchor = |title: &str| title.to_lowercase().replace(' ', "-").replace([',', '.', '\''], "");
    let chapters: Vec<String> =
        page.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' ')).map(anchor).collect();
    let mut named = 0;
    for file in files(&["src"]) {
        for (_, rest) in file.text.match_indices(PAGE).map(|(at, _)| file.text.split_at(at + PAGE.len())) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
            assert!(chapters.iter().any(|chapter| *chapter == rest[..end]), "{}: #{}", file.path, &rest[..end]);
            named += 1;
        }
    }
    assert!(named >= 2);
}
