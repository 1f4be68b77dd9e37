//! The data files: records of `field = hex` lines, set apart by blank lines; `#` begins a comment.

use std::collections::BTreeMap;
use std::path::Path;

/// One record of a data file.
#[derive(Debug)]
pub struct Record(BTreeMap<String, Vec<u8>>);

impl Record {
    /// A field that may be absent.
    pub fn find(&self, field: &str) -> Option<&[u8]> {
        self.0.get(field).map(Vec::as_slice)
    }

    /// A field that must be there.
    pub fn field(&self, field: &str) -> &[u8] {
        self.find(field).unwrap_or_else(|| panic!("no field {field} in {:?}", self.0.keys()))
    }
}

/// All records of a row's file, at least one.
pub fn records(table: &str, row: &str) -> Vec<Record> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{table}/{row}.txt"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("the row {row} needs published vectors in {}: {error}", path.display()));
    let mut records = vec![];
    let mut current = BTreeMap::new();
    for line in text.lines().map(str::trim).chain([""]) {
        if line.is_empty() && !current.is_empty() {
            records.push(Record(std::mem::take(&mut current)));
        } else if !line.is_empty() && !line.starts_with('#') {
            let (field, value) = line.split_once('=').unwrap_or_else(|| panic!("{}: {line}", path.display()));
            let value = hex::decode(value.trim()).unwrap_or_else(|error| panic!("{}: {line}: {error}", path.display()));
            current.insert(field.trim().to_owned(), value);
        }
    }
    assert!(!records.is_empty(), "{} holds no vector", path.display());
    records
}
