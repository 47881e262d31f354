//! The answer of a command on stdout: tables for people, one JSON object a line for programs, CSV for spreadsheets.
//!
//! Rows are written as they come, so a list of a million rows needs no memory; the widths of columns are
//! therefore fixed, and a longer cell only shifts its own line.

use std::io::{self, BufWriter, Write};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its heading, in small letters.
    pub title: &'static str,
    /// Characters that most cells have at most.
    pub width: usize,
    /// Numbers are set to the right.
    pub right: bool,
}

/// A column of text.
pub const fn text(title: &'static str, width: usize) -> Column {
    Column { title, width, right: false }
}

/// A column of numbers.
pub const fn number(title: &'static str, width: usize) -> Column {
    Column { title, width, right: true }
}

/// A moment in a table: UTC, to the second.
pub fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// What a command can answer: its serialised form is the JSON, its cells are the table.
pub trait Show: Serialize {
    /// The columns of the table.
    const COLUMNS: &'static [Column];
    /// One text per column.
    fn cells(&self) -> Vec<String>;
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// One object, or one a line.
    Json,
    /// RFC 4180, with a line of headings; rows must be flat.
    Csv,
}

/// Writes answers to stdout, or elsewhere in tests.
pub struct Output<W: Write = BufWriter<io::Stdout>> {
    format: Format,
    header_written: bool,
    out: W,
}

impl Output {
    /// An answer on stdout.
    pub fn new(json: bool) -> Self {
        Self::of(if json { Format::Json } else { Format::Table })
    }

    /// An answer on stdout in any format.
    pub fn of(format: Format) -> Self {
        Self::to(format, BufWriter::new(io::stdout()))
    }
}

impl<W: Write> Output<W> {
    /// An answer to any writer.
    pub fn to(format: Format, out: W) -> Self {
        Self { format, header_written: false, out }
    }

    /// Writes one row of a list; the first one brings the headings.
    pub fn row<T: Show>(&mut self, item: &T) -> io::Result<()> {
        match self.format {
            Format::Json => return self.json(item),
            Format::Csv => return self.csv_line(item),
            Format::Table => {}
        }
        if !std::mem::replace(&mut self.header_written, true) {
            self.line(T::COLUMNS, T::COLUMNS.iter().map(|column| column.title.to_uppercase()))?;
        }
        self.line(T::COLUMNS, item.cells().into_iter())
    }

    /// Writes a single answer: one line of JSON, or one line per column.
    pub fn one<T: Show>(&mut self, item: &T) -> io::Result<()> {
        match self.format {
            Format::Json => return self.json(item),
            Format::Csv => return self.csv_line(item),
            Format::Table => {}
        }
        let width = T::COLUMNS.iter().map(|column| column.title.len()).max().unwrap_or(0);
        for (column, cell) in T::COLUMNS.iter().zip(item.cells()) {
            writeln!(self.out, "{:width$}  {}", column.title, printable(&cell)).map_err(mark)?;
        }
        Ok(())
    }

    /// Writes lines for people, in answers that are no table.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        let plain = text.replace(|character: char| character.is_control() && character != '\n', "�");
        writeln!(self.out, "{plain}").map_err(mark)
    }

    /// Hands on what is in the buffer, for answers that take long.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(mark)
    }

    /// Writes what is still in the buffer; without it the end of the answer may be missing.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush().map_err(mark)
    }

    /// Writes one line of JSON, for answers whose JSON is not what their table shows.
    pub fn json<T: Serialize>(&mut self, item: &T) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, item).map_err(|error| mark(error.into()))?;
        self.out.write_all(b"\n").map_err(mark)
    }

    /// The headings are the names of the fields, as in JSON.
    fn csv_line<T: Serialize>(&mut self, item: &T) -> io::Result<()> {
        let headings = !std::mem::replace(&mut self.header_written, true);
        // A line of its own, for the writer of CSV would flush what it writes to.
        let mut line = Vec::new();
        let mut writer = csv::WriterBuilder::new().has_headers(headings).buffer_capacity(1_024).from_writer(&mut line);
        writer.serialize(item)?;
        writer.flush()?;
        drop(writer);
        self.out.write_all(&line).map_err(mark)
    }

    fn line(&mut self, columns: &[Column], cells: impl Iterator<Item = String>) -> io::Result<()> {
        let mut line = String::new();
        for (column, cell) in columns.iter().zip(cells) {
            let (cell, width) = (printable(&cell), column.width);
            let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
            let parts = if column.right { [padding.as_str(), &cell] } else { [cell.as_str(), &padding] };
            line.extend(parts.into_iter().chain(["  "]));
        }
        writeln!(self.out, "{}", line.trim_end()).map_err(mark)
    }
}

/// A cell without control characters: a name must not move the cursor of whoever lists it.
fn printable(cell: &str) -> String {
    if cell.is_empty() { "-".to_owned() } else { cell.replace(char::is_control, "�") }
}

/// The reader of stdout left (`kmsnotif … | head`): no error of ours.
#[derive(Debug, thiserror::Error)]
#[error("stdout is closed")]
struct ClosedPipe;

/// Marks a closed stdout, which a connection to a server that broke must not be taken for.
fn mark(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { io::Error::new(error.kind(), ClosedPipe) } else { error }
}

/// Whether the error only says that the reader of stdout left.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let own = |cause: &io::Error| cause.get_ref().and_then(|inner| inner.downcast_ref::<ClosedPipe>()).is_some();
    error.downcast_ref::<io::Error>().is_some_and(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Pair {
        name: &'static str,
        number: u32,
    }

    impl Show for Pair {
        const COLUMNS: &'static [Column] = &[text("name", 6), number("number", 6)];
        fn cells(&self) -> Vec<String> {
            vec![self.name.to_owned(), self.number.to_string()]
        }
    }

    fn written(format: Format, write: impl Fn(&mut Output<&mut Vec<u8>>)) -> String {
        let mut bytes = Vec::new();
        let mut output = Output::to(format, &mut bytes);
        write(&mut output);
        output.finish().unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn lists_are_tables_or_json_lines() {
        let list = |output: &mut Output<&mut Vec<u8>>| {
            output.row(&Pair { name: "a\u{1b}", number: 1 }).unwrap();
            output.row(&Pair { name: "", number: 20 }).unwrap();
        };
        assert_eq!(written(Format::Table, list), "NAME    NUMBER\na�           1\n-           20\n");
        assert_eq!(
            written(Format::Json, list),
            "{\"name\":\"a\\u001b\",\"number\":1}\n{\"name\":\"\",\"number\":20}\n"
        );
    }

    #[test]
    fn cells_of_csv_are_quoted_where_they_must_be() {
        let list = |output: &mut Output<&mut Vec<u8>>| {
            output.row(&Pair { name: "a, \"b\"\nc", number: 1 }).unwrap();
            output.row(&Pair { name: "", number: 20 }).unwrap();
        };
        assert_eq!(written(Format::Csv, list), "name,number\n\"a, \"\"b\"\"\nc\",1\n,20\n");
    }

    #[test]
    fn a_single_answer_has_a_line_per_column() {
        assert_eq!(
            written(Format::Table, |output| output.one(&Pair { name: "a", number: 1 }).unwrap()),
            "name    a\nnumber  1\n"
        );
    }
}
