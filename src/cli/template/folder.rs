//! A folder of templates that somebody edits: the layout of `templates/whatsapp/`, read from disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kmsnotif_jobs::{Kind, Language};

use crate::render::{File, Source, TemplateError, Templates};

/// Larger files are no templates.
const BYTES_MAX: u64 = 256 * 1024;
const SETTINGS: &str = "template.toml";

/// The files of a folder, and what is wrong with the folder itself.
#[derive(Debug)]
pub(super) struct Folder {
    kinds: Vec<KindFiles>,
    problems: Vec<TemplateError>,
}

/// A file's path and text.
type Text = (String, String);

#[derive(Debug)]
struct KindFiles {
    kind: Kind,
    settings: Text,
    bodies: [Text; Language::ALL.len()],
}

impl Folder {
    /// Reads the folder of all kinds, or of one: then it is named like it.
    pub(super) fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut folder = Self { kinds: Vec::new(), problems: Vec::new() };
        // A folder is known by its own name, also when it is given as `.` or with a slash at its end.
        let dir = dir.canonicalize().with_context(|| format!("{}: cannot be read", dir.display())).map(|_| dir)?;
        if dir.join(SETTINGS).is_file() {
            folder.add(dir)?;
            return Ok(folder);
        }
        let entries = fs::read_dir(dir).with_context(|| format!("{}: is no folder", dir.display()))?;
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("{}: cannot be read", dir.display()))?.path();
            if path.is_dir() {
                paths.push(path);
            }
        }
        paths.sort();
        for path in &paths {
            folder.add(path)?;
        }
        for kind in Kind::ALL.into_iter().filter(|kind| kind.sends_message()) {
            if !paths.iter().any(|path| path.file_name().is_some_and(|name| name == kind.as_str())) {
                folder.problem(&dir.join(kind.as_str()), "this kind has no folder");
            }
        }
        Ok(folder)
    }

    fn add(&mut self, path: &Path) -> anyhow::Result<()> {
        let name = path.canonicalize()?.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(kind) = name.parse::<Kind>().ok().filter(|kind| kind.sends_message()) else {
            self.problem(path, &format!("{name} is no kind that sends messages"));
            return Ok(());
        };
        let settings = self.text(&path.join(SETTINGS))?;
        let [id, en, fr] = Language::ALL.map(|language| self.text(&path.join(format!("{language}.tera"))));
        if let (Some(settings), Some(id), Some(en), Some(fr)) = (settings, id?, en?, fr?) {
            self.kinds.push(KindFiles { kind, settings, bodies: [id, en, fr] });
        }
        Ok(())
    }

    /// Reads a file; what is missing or no text is a problem of the folder.
    fn text(&mut self, path: &Path) -> anyhow::Result<Option<Text>> {
        let size = match fs::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.problem(path, "the file is missing");
                return Ok(None);
            }
            Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", path.display())),
        };
        if size > BYTES_MAX {
            bail!("{}: has {size} bytes, {BYTES_MAX} at most", path.display());
        }
        let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some((path.display().to_string(), text.replace("\r\n", "\n")))),
            Err(error) => {
                let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let line = before.split(|byte| *byte == b'\n').count();
                self.problems.push(TemplateError {
                    file: path.display().to_string(),
                    line,
                    problem: "the file is not UTF-8".to_owned(),
                });
                Ok(None)
            }
        }
    }

    fn problem(&mut self, path: &Path, problem: &str) {
        let file = path.display().to_string();
        self.problems.push(TemplateError { file, line: 1, problem: problem.to_owned() });
    }

    /// The files as templates are made from.
    pub(super) fn sources(&self) -> Vec<Source<'_>> {
        fn file((path, text): &Text) -> File<'_> {
            File { path, text }
        }
        fn source(files: &KindFiles) -> Source<'_> {
            let bodies = files.bodies.each_ref().map(file);
            Source { kind: files.kind, settings: file(&files.settings), bodies }
        }
        self.kinds.iter().map(source).collect()
    }

    /// Every problem, the folder's own first.
    pub(super) fn lint(&self) -> Vec<TemplateError> {
        let mut problems = self.problems.clone();
        problems.extend(Templates::lint(&self.sources()));
        problems
    }

    /// Loads what is there; the first problem refuses it.
    pub(super) fn load(&self) -> anyhow::Result<Templates> {
        if let Some(problem) = self.problems.first() {
            bail!("{problem}");
        }
        Ok(Templates::from_sources(&self.sources())?)
    }
}
