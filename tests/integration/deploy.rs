//! What is shipped beside the docs (docs/deploy/) says of the service what is true: metrics, commands, variables, anchors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use kmsnotif::cli::Cli;
use kmsnotif::config::{Need, VARIABLES};
use serde_json::Value;

/// SIGTERM to exit takes 25 s.
const GRACE_SECONDS: i64 = 30;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

/// The documents of a YAML file.
fn yaml(name: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(name)).unwrap_or_else(|error| panic!("docs/{name}: {error}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {pointer} of {value:#}"))
}

/// Every metric that the service tells, as `src/telemetry/metric.rs` names it.
fn metrics() -> BTreeSet<String> {
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/metric.rs")).unwrap();
    let constants = source.lines().filter(|line| line.starts_with("pub const "));
    let names: BTreeSet<String> = constants.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect();
    assert!(names.len() > 20 && names.iter().all(|name| name.starts_with("kmsnotif_")), "{names:?}");
    names
}

/// Words that begin like our metrics, without what Prometheus appends to those of histograms.
fn named_metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let ours = words.filter(|word| word.starts_with("kmsnotif_"));
    ours.map(|word| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        histogram.unwrap_or(word).to_owned()
    })
    .collect()
}

/// The anchors of a Markdown file's headings, as GitHub makes them.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter_map(|line| line.strip_prefix('#'));
    let headings = headings.map(|line| line.trim_start_matches('#').trim().to_lowercase());
    let kept = |character: &char| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_');
    headings.map(|heading| heading.chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

/// Arguments that the binary understands, up to what it would do then.
fn assert_command(arguments: &str) {
    let arguments = std::iter::once("kmsnotif").chain(arguments.split_whitespace());
    if let Err(error) = Cli::try_parse_from(arguments) {
        panic!("{error}");
    }
}

#[test]
fn every_alert_has_a_cause_a_severity_and_a_section_that_says_what_to_do() {
    let anchors = anchors(&read("OPERATIONS.md"));
    let documents = yaml("deploy/prometheus/alerts.yml");
    let rules = documents[0]["groups"][0]["rules"].as_array().unwrap();
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = text(rule, "/alert");
        assert!(names.insert(name), "{name} is there twice");
        assert!(!named_metrics(text(rule, "/expr")).is_empty(), "{name} looks at no metric of ours");
        let minutes = text(rule, "/for").strip_suffix('m').and_then(|minutes| minutes.parse::<u32>().ok());
        assert!(minutes.is_some(), "{name}: for is not in minutes");
        assert!(["critical", "warning"].contains(&text(rule, "/labels/severity")), "{name}");
        let summary = text(rule, "/annotations/summary");
        assert!(summary.ends_with('.') && summary.len() > 20, "{name}: {summary}");
        let anchor = text(rule, "/annotations/runbook").strip_prefix("docs/OPERATIONS.md#");
        assert!(
            anchor.is_some_and(|anchor| anchors.contains(anchor)),
            "{name}: no section {anchor:?} in OPERATIONS.md"
        );
    }
    assert!(names.len() >= 20, "{names:?}");
}

#[test]
fn alerts_dashboard_and_autoscaler_look_at_metrics_that_are_told() {
    let known = metrics();
    for file in ["prometheus/alerts.yml", "prometheus/alerts_test.yml", "grafana/kmsnotif.json"] {
        let named = named_metrics(&read(&format!("deploy/{file}")));
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(!named.is_empty() && unknown.is_empty(), "{file} names {unknown:?}");
    }
    let adapter = &yaml("deploy/kubernetes/prometheus-adapter.yaml")[0];
    let metric = text(adapter, "/rules/external/0/name/as");
    assert!(known.contains(metric), "{metric}");
    assert_eq!(text(adapter, "/rules/external/0/seriesQuery"), metric);
    let scaler = only("deploy/kubernetes/worker.yaml", "HorizontalPodAutoscaler");
    assert_eq!(text(&scaler, "/spec/metrics/0/external/metric/name"), metric);
    assert_eq!(text(&scaler, "/spec/scaleTargetRef/name"), "kmsnotif-worker");
}

#[test]
fn every_metric_is_explained_and_shown() {
    let (operations, dashboard) = (read("OPERATIONS.md"), read("deploy/grafana/kmsnotif.json"));
    for metric in metrics() {
        assert!(operations.contains(&metric), "docs/OPERATIONS.md does not explain {metric}");
        assert!(dashboard.contains(&metric), "the dashboard does not show {metric}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/kmsnotif.json")).unwrap();
    assert_eq!(text(&dashboard, "/uid"), "kmsnotif");
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel:#}");
        let at = &panel["gridPos"];
        assert!(at["x"].as_u64().unwrap() + at["w"].as_u64().unwrap() <= 24, "{at}");
        assert!(places.insert((at["y"].as_u64(), at["x"].as_u64())), "two panels at {at}");
        assert!(!text(panel, "/title").is_empty());
        if text(panel, "/type") != "row" {
            let targets = panel["targets"].as_array().unwrap();
            assert!(!targets.is_empty() && targets.iter().all(|target| !text(target, "/expr").is_empty()));
        }
    }
}

/// The manifest of this kind in a file.
fn only(name: &str, kind: &str) -> Value {
    let mut found = yaml(name).into_iter().filter(|document| document["kind"] == kind);
    found.next().unwrap_or_else(|| panic!("docs/{name} has no {kind}"))
}

const DEPLOYMENTS: [&str; 3] = ["web", "worker", "scheduler"];

#[test]
fn every_deployment_starts_a_command_that_exists_and_gives_it_time_to_end() {
    for name in DEPLOYMENTS {
        let deployment = only(&format!("deploy/kubernetes/{name}.yaml"), "Deployment");
        assert_eq!(text(&deployment, "/apiVersion"), "apps/v1");
        assert_eq!(text(&deployment, "/metadata/name"), format!("kmsnotif-{name}"));
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["terminationGracePeriodSeconds"].as_i64(), Some(GRACE_SECONDS));
        assert_eq!(deployment["spec"]["selector"]["matchLabels"], deployment["spec"]["template"]["metadata"]["labels"]);
        let container = &pod["containers"][0];
        let arguments: Vec<&str> = container["args"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        assert_eq!(arguments[0], name);
        assert_command(&arguments.join(" "));
        assert_eq!(text(container, "/livenessProbe/httpGet/path"), "/healthz");
        let readiness = if name == "web" { "/readyz" } else { "/healthz" };
        assert_eq!(text(container, "/readinessProbe/httpGet/path"), readiness);
        assert!(container.pointer("/resources/limits/memory").is_some(), "{name}");
        assert!(container.pointer("/resources/limits/cpu").is_none(), "a limit of CPU makes leases run out");
        let budget = only(&format!("deploy/kubernetes/{name}.yaml"), "PodDisruptionBudget");
        assert_eq!(budget["spec"]["selector"], deployment["spec"]["selector"]);
    }
    // How many workers is the autoscaler's to say.
    let worker = only("deploy/kubernetes/worker.yaml", "Deployment");
    assert!(worker["spec"].get("replicas").is_none());
    let service = only("deploy/kubernetes/web.yaml", "Service");
    let web = only("deploy/kubernetes/web.yaml", "Deployment");
    assert_eq!(service["spec"]["selector"], web["spec"]["selector"]["matchLabels"]);
    let job = only("deploy/kubernetes/migrate.yaml", "Job");
    assert_eq!(job["spec"]["template"]["spec"]["containers"][0]["args"], serde_json::json!(["migrate"]));
}

#[test]
fn kustomization_takes_every_manifest_but_the_migration() {
    let listed = &yaml("deploy/kubernetes/kustomization.yaml")[0]["resources"];
    let listed: BTreeSet<&str> = listed.as_array().unwrap().iter().map(|file| file.as_str().unwrap()).collect();
    let files = fs::read_dir(path("deploy/kubernetes")).unwrap();
    let mut files: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    for apart in ["kustomization.yaml", "migrate.yaml", "prometheus-adapter.yaml"] {
        assert!(files.remove(apart), "{apart}");
    }
    assert_eq!(listed, files.iter().map(String::as_str).collect());
}

#[test]
fn configmap_and_secret_hold_every_variable_that_is_required_and_none_that_is_unknown() {
    let configuration = only("deploy/kubernetes/config.yaml", "ConfigMap");
    let secret = only("deploy/kubernetes/config.yaml", "Secret");
    let plain: BTreeMap<String, String> = serde_json::from_value(configuration["data"].clone()).unwrap();
    let hidden: BTreeMap<String, String> = serde_json::from_value(secret["stringData"].clone()).unwrap();
    for variable in VARIABLES {
        let is_set = plain.contains_key(variable.name) || hidden.contains_key(variable.name);
        let is_required = !matches!(variable.need, Need::Default(_) | Need::Off);
        assert!(is_set || !is_required, "{} is missing", variable.name);
        assert!(!variable.secret || !plain.contains_key(variable.name), "{} is a secret", variable.name);
    }
    for name in plain.keys().chain(hidden.keys()) {
        assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name} is no variable of ours");
    }
}

#[test]
fn every_unit_of_systemd_starts_a_command_that_exists_and_gives_it_time_to_end() {
    let mut units = 0;
    for file in fs::read_dir(path("deploy/systemd")).unwrap() {
        let file = file.unwrap().path();
        let unit = fs::read_to_string(&file).unwrap();
        let value = |key: &str| {
            unit.lines()
                .find_map(|line| line.strip_prefix(key))
                .unwrap_or_else(|| panic!("{}: no {key}", file.display()))
        };
        let command = value("ExecStart=/usr/local/bin/kmsnotif ").replace("%i", "01");
        assert_command(&command);
        if value("Type=") != "oneshot" {
            assert_eq!(value("TimeoutStopSec=").parse(), Ok(GRACE_SECONDS), "{}", file.display());
            assert_eq!(value("Restart="), "always");
        }
        for hardening in
            ["NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes", "MemoryDenyWriteExecute=yes"]
        {
            assert!(unit.lines().any(|line| line == hardening), "{}: no {hardening}", file.display());
        }
        units += 1;
    }
    assert_eq!(units, 4);
}

/// The links of a Markdown file that stay in the repository: path and anchor, either may be empty.
fn links(markdown: &str) -> Vec<(&str, &str)> {
    let targets = markdown.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let inner = targets.filter(|target| !target.contains("://"));
    inner.map(|target| target.split_once('#').unwrap_or((target, ""))).collect()
}

#[test]
fn links_of_the_docs_lead_somewhere() {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["", "adr"] {
        let entries = fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let markdown = fs::read_to_string(&file).unwrap();
        for (target, anchor) in links(&markdown) {
            let to = if target.is_empty() { file.clone() } else { file.parent().unwrap().join(target) };
            assert!(to.exists(), "{}: there is no {target}", file.display());
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&to).unwrap());
                assert!(anchors.contains(anchor), "{}: there is no #{anchor} in {}", file.display(), to.display());
            }
        }
    }
}
