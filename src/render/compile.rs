//! From a Tera file to a body with named holes.
//!
//! 1. Tera renders the file once per shape of the data, with a mark in place of every value; a child template
//!    wraps each `{% block %}` in marks too.
//! 2. The marks are read back: text and holes. What is outside blocks is Meta's fixed text and must be the same in
//!    every shape; a block is one hole whose sentence is kept per shape.
//!
//! Sending then fills holes and runs no Tera: a value can never be taken for template text.

use std::fmt::Write as _;

use tera::{Context, ErrorKind, Tera};

use super::TemplateError;
use super::field::{self, Field, Presence, Role};
use super::source::File;

/// Marks around what a rendering filled in; private use characters that no template file may contain.
const VALUE: char = '\u{e000}';
const BLOCK: char = '\u{e001}';
const SENTENCE: char = '\u{e002}';
const END: char = '\u{e003}';

/// Fixed text, or the place of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text as written in the file.
    Text(String),
    /// In a body the number of a hole, in a sentence the number of a field.
    Value(usize),
}

/// A named hole of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) name: String,
    pub(super) content: Content,
}

/// What fills a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The value of the field of this number.
    Field(usize),
    /// A sentence for every shape of the data.
    Sentence(Vec<Vec<Piece>>),
}

/// A body that is ready to be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) pieces: Vec<Piece>,
    pub(super) holes: Vec<Hole>,
}

/// Works out the body of one Tera file for every shape of the data.
pub(super) fn compile(file: File<'_>, fields: &[Field]) -> Result<Body, TemplateError> {
    if let Some(byte) = file.text.find([VALUE, BLOCK, SENTENCE, END]) {
        return Err(file.problem_at(byte, "the private use characters U+E000 to U+E003 are not allowed"));
    }
    check_tags(file)?;
    let tera = parse(file, fields)?;
    let mut body: Option<Body> = None;
    for number in 0..field::shape_count(fields) {
        let rendered = tera.render(CHILD, &context(fields, number)).map_err(|error| tera_problem(file, &error))?;
        let shaped = read(file, fields, rendered.trim())?;
        match &mut body {
            None => body = Some(shaped),
            Some(body) => merge(file, body, shaped)?,
        }
    }
    body.ok_or_else(|| file.problem(1, "this kind sends no message"))
}

/// The names that Tera knows the file and the template that wraps its blocks by; a path could hold quotes.
const FILE: &str = "body";
const CHILD: &str = "marked";
/// All that a file needs; loops and calls could take for ever.
const TAGS: [&str; 8] = ["block", "endblock", "if", "elif", "else", "endif", "raw", "endraw"];
/// Longer files are none; Meta's own limit of a body is far below.
const BYTES_MAX: usize = 16 * 1024;

/// Refuses what could make the rendering of a file long, before any of it is rendered.
fn check_tags(file: File<'_>) -> Result<(), TemplateError> {
    if file.text.len() > BYTES_MAX {
        return Err(file.problem(1, &format!("the file has more than {BYTES_MAX} bytes")));
    }
    for (at, _) in file.text.match_indices("{%") {
        let tag = file.text[at + 2..].split("%}").next().unwrap_or_default();
        let word = tag.trim_start_matches('-').split_whitespace().next().unwrap_or_default();
        if !TAGS.contains(&word) {
            return Err(file.problem_at(at, &format!("{{% {word} %}} is not allowed: only if, block and their ends")));
        }
        if tag.contains('(') {
            return Err(file.problem_at(at, "conditions hold names and words, and no calls"));
        }
    }
    Ok(())
}

/// Parses the file and a child that marks its blocks.
fn parse(file: File<'_>, fields: &[Field]) -> Result<Tera, TemplateError> {
    let mut child = format!("{{% extends \"{FILE}\" %}}");
    for name in block_names(file.text) {
        if fields.iter().any(|field| field.name == name) {
            return Err(file.problem(file.line_of(name), &format!("block {name} has the name of a value")));
        }
        let _ = write!(child, "{{% block {name} %}}{BLOCK}{name}{SENTENCE}{{{{ super() }}}}{END}{{% endblock %}}");
    }
    let mut tera = Tera::new();
    tera.add_raw_templates([(FILE, file.text), (CHILD, child.as_str())]).map_err(|error| tera_problem(file, &error))?;
    let mut variables: Vec<&str> =
        tera.get_template_variables(FILE).map_err(|error| tera_problem(file, &error))?.into_iter().collect();
    variables.sort_unstable();
    if let Some(unknown) = variables.into_iter().find(|name| !fields.iter().any(|field| field.name == *name)) {
        let names: Vec<_> = fields.iter().map(|field| field.name).collect();
        let problem = format!("unknown variable {unknown}: this kind has {}", names.join(", "));
        return Err(file.problem(file.line_of(unknown), &problem));
    }
    Ok(tera)
}

/// The names in `{% block name %}`, in order.
fn block_names(text: &str) -> impl Iterator<Item = &str> {
    text.split("{%").skip(1).filter_map(|tag| {
        let words = tag.split(['%', '}']).next().unwrap_or_default();
        let mut words = words.trim_start_matches('-').split_whitespace();
        (words.next() == Some("block")).then(|| words.next()).flatten()
    })
}

/// A context with a mark for every value that this shape has.
fn context(fields: &[Field], number: usize) -> Context {
    let mut context = Context::new();
    for (field, presence) in fields.iter().zip(field::shape(fields, number)) {
        match (presence, field.role) {
            (Presence::Chosen(chosen), Role::Choice(words)) => context.insert(field.name, words[chosen]),
            (Presence::Missing, _) => {}
            _ => context.insert(field.name, &format!("{VALUE}{}{END}", field.name)),
        }
    }
    context
}

/// Reads the marks of a rendering back into text and holes.
fn read(file: File<'_>, fields: &[Field], mut rest: &str) -> Result<Body, TemplateError> {
    let mut body = Body { pieces: Vec::new(), holes: Vec::new() };
    while let Some(start) = rest.find([VALUE, BLOCK]) {
        push_text(&mut body.pieces, &rest[..start]);
        let is_block = rest[start..].starts_with(BLOCK);
        let inside = &rest[start + VALUE.len_utf8()..];
        let (name, content, end) = if is_block {
            let (name, sentence) = inside.split_once(SENTENCE).ok_or_else(|| broken(file))?;
            let end = block_end(sentence).ok_or_else(|| broken(file))?;
            let pieces = read_sentence(file, fields, &sentence[..end])?;
            if pieces.is_empty() {
                let problem = format!("block {name} is empty for some data: give it an {{% else %}}");
                return Err(file.problem(file.line_of(name), &problem));
            }
            (name, Content::Sentence(vec![pieces]), &sentence[end..])
        } else {
            let end = inside.find(END).ok_or_else(|| broken(file))?;
            (&inside[..end], Content::Field(field_number(file, fields, &inside[..end])?), &inside[end..])
        };
        let known = body.holes.iter().position(|hole| hole.name == name);
        body.pieces.push(Piece::Value(known.unwrap_or(body.holes.len())));
        if known.is_none() {
            body.holes.push(Hole { name: name.to_owned(), content });
        }
        rest = &end[END.len_utf8()..];
    }
    push_text(&mut body.pieces, rest);
    Ok(body)
}

/// Where a block's mark ends: the first end that closes no value.
fn block_end(text: &str) -> Option<usize> {
    let mut open = 0;
    for (index, character) in text.char_indices() {
        match character {
            VALUE | BLOCK => open += 1,
            END if open == 0 => return Some(index),
            END => open -= 1,
            _ => {}
        }
    }
    None
}

/// Reads one sentence of a block: on one line, with single spaces, as Meta wants a parameter.
fn read_sentence(file: File<'_>, fields: &[Field], text: &str) -> Result<Vec<Piece>, TemplateError> {
    let line = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    if line.contains(BLOCK) {
        return Err(file.problem(1, "a block inside a block"));
    }
    let mut pieces = Vec::new();
    let mut rest = line.as_str();
    while let Some((before, inside)) = rest.split_once(VALUE) {
        push_text(&mut pieces, before);
        let (name, after) = inside.split_once(END).ok_or_else(|| broken(file))?;
        pieces.push(Piece::Value(field_number(file, fields, name)?));
        rest = after;
    }
    push_text(&mut pieces, rest);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

fn field_number(file: File<'_>, fields: &[Field], name: &str) -> Result<usize, TemplateError> {
    fields.iter().position(|field| field.name == name).ok_or_else(|| broken(file))
}

/// A filter or a slice changed a value's mark.
fn broken(file: File<'_>) -> TemplateError {
    let line = file.text.lines().position(|line| line.contains('|')).map_or(1, |index| index + 1);
    file.problem(line, "values stand as they are: no filters, slices or calls around them")
}

/// Adds the sentences of one more shape; what is outside blocks must not differ.
fn merge(file: File<'_>, body: &mut Body, shaped: Body) -> Result<(), TemplateError> {
    let same_holes = body.holes.iter().map(|hole| &hole.name).eq(shaped.holes.iter().map(|hole| &hole.name));
    if !same_holes || body.pieces != shaped.pieces {
        let line = file.text.lines().position(|line| line.contains("{%")).map_or(1, |index| index + 1);
        return Err(file.problem(line, "text that depends on the data must stand inside a {% block name %}"));
    }
    for (hole, shaped) in body.holes.iter_mut().zip(shaped.holes) {
        if let (Content::Sentence(sentences), Content::Sentence(more)) = (&mut hole.content, shaped.content) {
            sentences.extend(more);
        }
    }
    Ok(())
}

/// Tera's own error, at its line.
fn tera_problem(file: File<'_>, error: &tera::Error) -> TemplateError {
    match error.kind() {
        ErrorKind::SyntaxError(report) | ErrorKind::RenderingError(report) => {
            let line = if report.filename() == CHILD { 1 } else { report.span().start_line };
            file.problem(line, report.message())
        }
        other => file.problem(1, &other.to_string()),
    }
}
