//! `c2l config show`: each value and where it came from.
//!
//! Invariant: a secret is never printed, nor a password that stands in an address by mistake.

use std::collections::BTreeSet;

use crate::{
    logging::escaped,
    settings::{
        Entry, Values,
        file::{IssuerEntry, Scalar},
    },
};

/// Shown instead of a secret.
pub(super) const HIDDEN: &str = "(hidden)";

/// One line for each setting of `all`, in columns. What several commands share is shown once.
pub(crate) fn render<'a>(all: impl IntoIterator<Item = &'a Values>) -> String {
    let mut rows = Vec::new();
    let mut known = BTreeSet::new();
    for values in all {
        for entry in values.entries() {
            let row = row(entry);
            if known.insert(row[0].clone()) {
                rows.push(row);
            }
        }
        for issuer in values.issuer_entries() {
            for (key, value) in issuer_rows(issuer) {
                let source = format!("file {}:issuers", issuer.place);
                let row = [format!("issuers.{key}"), shown(&value), source];
                if known.insert(row.join(" ")) {
                    rows.push(row);
                }
            }
        }
    }
    let widest = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.filter(|length| *length <= 40).max().unwrap_or(0)
    };
    let (names, values) = (widest(0), widest(1));
    rows.iter()
        .map(|[name, value, source]| format!("{name:names$}  {value:values$}  {source}\n"))
        .collect()
}

/// Each key with its value; a row of a table has the word behind the key.
fn issuer_rows(issuer: &IssuerEntry) -> impl Iterator<Item = (String, String)> {
    let texts = issuer.texts.iter();
    let texts = texts.map(|(key, texts)| ((*key).to_owned(), texts.join(",")));
    let tables = issuer.tables.iter().flat_map(|(key, table)| {
        let row = move |(word, value): (&String, &Scalar)| {
            (format!("{key}.{}", escaped(word)), value.to_string())
        };
        table.iter().map(row)
    });
    texts.chain(tables)
}

/// Name, value and source of a setting.
pub(super) fn row(entry: &Entry) -> [String; 3] {
    let name = entry.table.path_of(entry.setting);
    match entry.effective() {
        None => [name, "-".to_owned(), "not set".to_owned()],
        Some(given) => {
            let value = match entry.setting.is_secret {
                true => HIDDEN.to_owned(),
                false => shown(&given.texts.join(",")),
            };
            [name, value, escaped(&given.source.to_string()).into_owned()]
        }
    }
}

/// `text` without what stands before an `@` in an address.
fn shown(text: &str) -> String {
    let text = escaped(text);
    match text.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}"),
            None => text.into_owned(),
        },
        None => text.into_owned(),
    }
}
