//! A column that holds words, read into one of our types: what the constraints let in but the type refuses is an error.
//!
//! Apart, because every store reads such columns, and none is the owner of the others.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// Reads a column whose words the type itself understands.
pub(crate) fn parsed<T: FromStr<Err: Display>>(row: &PgRow, column: &str) -> Result<T, sqlx::Error> {
    read_with(row, column, str::parse)
}

/// Reads a column by this function.
pub(crate) fn read_with<T, E: Display>(
    row: &PgRow,
    column: &str,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<T, sqlx::Error> {
    read(row.try_get(column)?)
        .map_err(|error| sqlx::Error::ColumnDecode { index: column.to_owned(), source: error.to_string().into() })
}
