//! The statement that writes rows, and which rows one statement may hold.

use std::collections::HashSet;
use std::fmt::Write as _;

use millrace_plugin_host::{DatabaseError, Upsert, Value};

use super::decimal::Decimal;

/// Parameters of one statement: the protocol counts them in 16 bits.
const PARAMETERS_MAX: usize = u16::MAX as usize;

/// Rows of one statement. Beyond it, parsing grows faster than round trips shrink.
const ROWS_MAX: usize = 1000;

/// Columns of a PostgreSQL table.
const COLUMNS_MAX: usize = 1600;

/// How many rows of `columns` columns go into one statement.
pub(super) fn rows_per_statement(columns: usize) -> usize {
    (PARAMETERS_MAX / columns.max(1)).clamp(1, ROWS_MAX)
}

/// Refuses what no database could be asked.
pub(super) fn check(upsert: &Upsert) -> Result<(), DatabaseError> {
    let refused = |reason: String| Err(DatabaseError::Target(reason));
    if upsert.columns.is_empty() || upsert.columns.len() > COLUMNS_MAX {
        return refused(format!(
            "{} columns are named for table `{}`; name 1 to {COLUMNS_MAX}",
            upsert.columns.len(),
            upsert.table
        ));
    }
    if let Some(key) = upsert.key.iter().find(|key| !upsert.columns.contains(key)) {
        return refused(format!("key column `{key}` is not among the columns of the rows"));
    }
    let mut names = HashSet::new();
    if let Some(twice) = upsert.columns.iter().find(|column| !names.insert(column.as_str())) {
        return refused(format!("column `{twice}` is named twice"));
    }
    let mut texts = upsert.table.split('.').chain(upsert.columns.iter().map(String::as_str));
    if texts.any(|text| text.is_empty() || text.contains('\0')) {
        return refused("a table and its columns need names, without zero bytes".to_owned());
    }
    Ok(())
}

/// A name in quotes, so that nothing in it is SQL.
fn quote(sql: &mut String, name: &str) {
    sql.push('"');
    sql.push_str(&name.replace('"', "\"\""));
    sql.push('"');
}

fn quote_all(sql: &mut String, names: &[String]) {
    for (index, name) in names.iter().enumerate() {
        sql.push_str(if index == 0 { "" } else { ", " });
        quote(sql, name);
    }
}

/// Inserts `rows` rows, and overwrites those whose key is there. A dot in the table's name parts schema and
/// table.
pub(super) fn sql(upsert: &Upsert, rows: usize) -> String {
    let mut sql = String::from("INSERT INTO ");
    for (index, part) in upsert.table.split('.').enumerate() {
        sql.push_str(if index == 0 { "" } else { "." });
        quote(&mut sql, part);
    }
    sql.push_str(" (");
    quote_all(&mut sql, &upsert.columns);
    sql.push_str(") VALUES ");
    let mut parameter = 0;
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..upsert.columns.len() {
            parameter += 1;
            sql.push_str(if column == 0 { "$" } else { ", $" });
            // Writing to a string does not fail.
            let _ = write!(sql, "{parameter}");
        }
        sql.push(')');
    }
    if upsert.key.is_empty() {
        return sql;
    }
    sql.push_str(" ON CONFLICT (");
    quote_all(&mut sql, &upsert.key);
    sql.push_str(") DO ");
    let others = upsert.columns.iter().filter(|column| !upsert.key.contains(column));
    for (index, column) in others.enumerate() {
        sql.push_str(if index == 0 { "UPDATE SET " } else { ", " });
        quote(&mut sql, column);
        sql.push_str(" = EXCLUDED.");
        quote(&mut sql, column);
    }
    if upsert.columns.iter().all(|column| upsert.key.contains(column)) {
        sql.push_str("NOTHING");
    }
    sql
}

/// The rows to write: of those with the same key the last, since one statement cannot overwrite a row twice.
/// The order of those that stay is kept. Null is never equal to null, as in the database.
pub(super) fn last_of_each_key(upsert: &Upsert) -> Vec<&[Value]> {
    let rows = upsert.rows.iter().map(Vec::as_slice);
    if upsert.key.is_empty() {
        return rows.collect();
    }
    let places = upsert.columns.iter().enumerate();
    let places: Vec<usize> =
        places.filter(|(_, column)| upsert.key.contains(column)).map(|(place, _)| place).collect();
    let mut seen = HashSet::new();
    let mut kept: Vec<&[Value]> = Vec::with_capacity(upsert.rows.len());
    for row in rows.rev() {
        let key = places.iter().map(|place| row.get(*place)?.key_form()).collect::<Option<Vec<_>>>();
        if key.is_none_or(|key| seen.insert(key)) {
            kept.push(row);
        }
    }
    kept.reverse();
    kept
}

/// A value by which keys are compared.
#[derive(PartialEq, Eq, Hash)]
enum KeyForm<'a> {
    Boolean(bool),
    Number(i64),
    Float(u64),
    Decimal(Decimal),
    Text(&'a str),
    Bytes(&'a [u8]),
}

trait ToKeyForm {
    /// `None` for null.
    fn key_form(&self) -> Option<KeyForm<'_>>;
}

impl ToKeyForm for Value {
    fn key_form(&self) -> Option<KeyForm<'_>> {
        Some(match self {
            Self::Null => return None,
            Self::Boolean(value) => KeyForm::Boolean(*value),
            Self::Int(value) | Self::Timestamp(value) => KeyForm::Number(*value),
            // Both zeros are one number.
            Self::Float(value) => KeyForm::Float((value + 0.0).to_bits()),
            Self::Number(value) => match Decimal::parse(value) {
                // The same number as one that was given as an int.
                Some(number) => number.to_int().map_or(KeyForm::Decimal(number), KeyForm::Number),
                None => KeyForm::Text(value),
            },
            Self::Text(value) | Self::Json(value) => KeyForm::Text(value),
            Self::Bytes(value) => KeyForm::Bytes(value),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upsert(table: &str, columns: &[&str], key: &[&str], rows: Vec<Vec<Value>>) -> Upsert {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Upsert { table: table.into(), columns: owned(columns), key: owned(key), rows }
    }

    #[test]
    fn the_statement_overwrites_what_is_there() {
        let orders = upsert("orders", &["id", "total"], &["id"], vec![]);
        assert_eq!(
            sql(&orders, 2),
            "INSERT INTO \"orders\" (\"id\", \"total\") VALUES ($1, $2), ($3, $4) ON CONFLICT (\"id\") DO \
             UPDATE SET \"total\" = EXCLUDED.\"total\""
        );
        let plain = upsert("shop.orders", &["id"], &[], vec![]);
        assert_eq!(sql(&plain, 1), "INSERT INTO \"shop\".\"orders\" (\"id\") VALUES ($1)");
        let only_key = upsert("t", &["a", "b"], &["b", "a"], vec![]);
        assert!(sql(&only_key, 1).ends_with("ON CONFLICT (\"b\", \"a\") DO NOTHING"));
    }

    #[test]
    fn a_name_is_never_sql() {
        let evil = upsert("t\"; DROP TABLE t; --", &["a\"b"], &[], vec![]);
        assert_eq!(sql(&evil, 1), "INSERT INTO \"t\"\"; DROP TABLE t; --\" (\"a\"\"b\") VALUES ($1)");
    }

    #[test]
    fn what_no_database_can_be_asked_is_refused() {
        assert_eq!(check(&upsert("s.t", &["a", "b"], &["a"], vec![])), Ok(()));
        let refused = |upsert: Upsert| check(&upsert).unwrap_err().to_string();
        assert!(refused(upsert("t", &[], &[], vec![])).contains("0 columns"));
        assert!(refused(upsert("t", &["a"], &["b"], vec![])).contains("`b`"));
        assert!(refused(upsert("t", &["a", "a"], &[], vec![])).contains("twice"));
        assert!(refused(upsert("s..t", &["a"], &[], vec![])).contains("need names"));
        assert!(refused(upsert("t", &["a\0"], &[], vec![])).contains("zero bytes"));
    }

    #[test]
    fn of_rows_with_one_key_the_last_is_written() {
        let row = |id: Value, n: i64| vec![Value::Int(n), id];
        let text = |id: &str| Value::Text(id.to_owned());
        let rows = vec![
            row(text("a"), 1),
            row(text("b"), 2),
            row(text("a"), 3),
            row(Value::Null, 4),
            row(Value::Null, 5),
        ];
        let mut upsert = upsert("t", &["n", "id"], &["id"], rows);
        let numbers = |upsert: &Upsert| -> Vec<i64> {
            let rows = last_of_each_key(upsert);
            rows.iter().map(|row| if let Value::Int(n) = row[0] { n } else { -1 }).collect()
        };
        assert_eq!(numbers(&upsert), [2, 3, 4, 5]);
        upsert.key.clear();
        assert_eq!(numbers(&upsert), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_number_is_the_same_key_however_it_is_written() {
        let rows = [Value::Int(100), Value::Number("100.0".into()), Value::Number("1e2".into())];
        let rows = rows.into_iter().chain([Value::Number("100.5".into())]).map(|key| vec![key]).collect();
        let rows = upsert("t", &["id"], &["id"], rows);
        let kept: Vec<_> = last_of_each_key(&rows).into_iter().map(|row| row[0].clone()).collect();
        assert_eq!(kept, [Value::Number("1e2".into()), Value::Number("100.5".into())]);
    }

    #[test]
    fn a_statement_holds_no_more_than_the_protocol_can_count() {
        for columns in [1, 2, 65, 66, 100, COLUMNS_MAX] {
            let rows = rows_per_statement(columns);
            assert!((1..=ROWS_MAX).contains(&rows) && rows * columns <= PARAMETERS_MAX, "{columns}: {rows}");
        }
    }
}
