//! Templates as files: linted, shown and exported without a server.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{Answer, prescription};
use crate::template::{Scratch, rows};

/// A copy of the templates of this version, for somebody to edit.
fn copy(scratch: &Scratch) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/whatsapp");
    for kind in fs::read_dir(&from).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in fs::read_dir(&kind).unwrap().map(|entry| entry.unwrap().path()) {
            let name = file.strip_prefix(&from).unwrap().display().to_string();
            scratch.file(&name, fs::read(&file).unwrap());
        }
    }
    scratch.0.clone()
}

fn command(arguments: &[&str], stdin: Option<&str>) -> Answer {
    use std::io::Write as _;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kmsnotif"));
    command.args(arguments).env_remove("DATABASE_URL").stdin(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.unwrap_or_default().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Answer { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn lint_names_every_file_and_line_that_is_wrong() {
    assert_eq!(command(&["template", "lint"], None).ok().stdout, "");
    let scratch = Scratch::folder();
    let folder = copy(&scratch);
    let lint = |dir: &Path| command(&["template", "lint", dir.to_str().unwrap(), "--json"], None);
    assert_eq!(lint(&folder).ok().stdout, "", "the copy is right");
    let edit = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(text.contains(from), "{name}");
        fs::write(folder.join(name), text.replacen(from, to, 1)).unwrap();
    };
    edit("prescription_ready/en.tera", "{{ pickup_instructions }}", "{{ diagnosis }}");
    edit("prescription_ready/id.tera", "{% endif %}", "");
    edit("registration_confirmed/template.toml", "[example.fr]", "[example.de]");
    edit("consultation_reminder/fr.tera", "{{ doctor_name }}", "votre médecin");
    edit("consultation_reminder/template.toml", "fr = ", "# fr = ");
    fs::remove_file(folder.join("registration_confirmed/fr.tera")).unwrap();
    fs::write(folder.join("credit_purchase_status/en.tera"), b"Hello\n\xff\xfe").unwrap();
    scratch.file("unknown_kind/template.toml", "");
    let answer = lint(&folder);
    assert_eq!(answer.code, 1);
    let found: Vec<String> = rows(&answer)
        .iter()
        .map(|row| {
            let file = row["file"].as_str().unwrap().strip_prefix(folder.to_str().unwrap()).unwrap();
            format!("{file}:{} {}", row["line"], row["problem"].as_str().unwrap())
        })
        .collect();
    let found = found.join("\n");
    for expected in [
        "/prescription_ready/en.tera:3 unknown variable diagnosis",
        "/prescription_ready/id.tera:",
        "/registration_confirmed/fr.tera:1 the file is missing",
        "/consultation_reminder/fr.tera:",
        "[footer] has no text in fr",
        "/credit_purchase_status/en.tera:2 the file is not UTF-8",
        "/unknown_kind:1 unknown_kind is no kind",
    ] {
        assert!(found.contains(expected), "{expected}\n{found}");
    }
    let nowhere = command(&["template", "lint", "/nowhere"], None);
    assert!(nowhere.code == 1 && nowhere.stderr.contains("/nowhere: cannot be read"), "{nowhere:#?}");
}

#[test]
fn preview_and_export_need_no_servers() {
    let shown = command(&["template", "preview", "--kind", "prescription_ready", "--language", "fr"], None).ok().stdout;
    assert!(shown.contains("│ Bonjour Camille Dubois") && shown.contains('╭'), "{shown}");
    let payload =
        command(&["template", "export", "--kind", "prescription_ready", "--language", "id"], None).ok().json();
    assert_eq!((&payload["parameter_format"], &payload["category"]), (&json!("NAMED"), &json!("UTILITY")));
    assert_eq!(rows(&command(&["template", "export", "--json"], None).ok()).len(), 12);
    assert_eq!(rows(&command(&["template", "list", "--json"], None).ok()).len(), 12);
    let odd = "{{x}} {% raw %} 👩‍👩‍👧‍👦 محمد\n\n\t".to_owned() + "é".repeat(200).as_str();
    let job = String::from_utf8(prescription("JOB").data("patient_name", odd).language("en").bytes()).unwrap();
    let preview = command(&["template", "preview", "--job", "-", "--json"], Some(&job)).ok().json();
    let text = preview["text"].as_str().unwrap();
    assert!(text.starts_with("Hello {{x}} {% raw %} 👩‍👩‍👧‍👦 محمد éé"), "{text}");
    assert!(text.chars().count() < 1_100 && text.contains('…'), "{text}");
    let long = String::from_utf8(prescription("LONG").data("patient_name", "é".repeat(10_000)).bytes()).unwrap();
    let long = command(&["template", "preview", "--job", "-"], Some(&long));
    assert!(long.code == 1 && long.stderr.contains("--job: data.patient_name has 10000 characters"), "{long:#?}");
    let wrong = command(&["template", "preview", "--job", "-", "--kind", "registration_confirmed"], Some(&job));
    assert_eq!(wrong.code, 2);
    let wrong = command(&["template", "preview", "--job", "-"], Some("{}"));
    assert!(wrong.code == 1 && wrong.stderr.contains("--job: "), "{wrong:#?}");
}
