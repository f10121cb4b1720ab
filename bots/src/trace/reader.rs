//! Reads a whole trace.

use thiserror::Error;

use super::record::{FORMAT, Header, Record};

/// Why a file is no trace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// It has no lines.
    #[error("the file is empty: a trace begins with a header line, which is written with the first event")]
    Empty,
    /// A header and nothing else.
    #[error("the trace has a header but no events: the connection was never established")]
    NoEvents,
    /// The first line is not a header.
    #[error("line 1: not the header of a trace ({cause})")]
    Header {
        /// What is wrong with it.
        cause: String,
    },
    /// A later, or earlier, format.
    #[error("line 1: the trace has format {found}, this program reads format {FORMAT}")]
    Format {
        /// The format that it names.
        found: u32,
    },
    /// A line that is not an event.
    #[error("line {line}: not an event ({cause})")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        cause: String,
    },
}

/// A trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its first line.
    pub header: Header,
    /// The others, at least one.
    pub records: Vec<Record>,
    /// The number of the last line, if it was cut off and is left out.
    pub cut_off: Option<usize>,
}

/// Reads a trace. A last line that does not end, because whoever wrote it was stopped, may be no event.
///
/// # Errors
/// [`ReadError`], with the number of the line.
pub fn read(bytes: &[u8]) -> Result<Log, ReadError> {
    let mut lines = (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n'));
    let (_, first) = lines.next().ok_or(ReadError::Empty)?;
    let header = read_header(first)?;
    let (mut records, mut cut_off) = (Vec::new(), None);
    for (number, line) in lines {
        if line.trim_ascii().is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(record) => records.push(record),
            Err(_) if !line.ends_with(b"\n") => cut_off = Some(number),
            Err(error) => return Err(ReadError::Line { line: number, cause: cause(&error) }),
        }
    }
    if records.is_empty() {
        return Err(ReadError::NoEvents);
    }
    Ok(Log { header, records, cut_off })
}

fn read_header(line: &[u8]) -> Result<Header, ReadError> {
    let bad = |error: serde_json::Error| ReadError::Header { cause: cause(&error) };
    // Another format may have other fields, so the number comes first.
    let value: serde_json::Value = serde_json::from_slice(line).map_err(bad)?;
    match value.get("zonewire_trace").and_then(serde_json::Value::as_u64) {
        Some(found) if found != u64::from(FORMAT) => {
            Err(ReadError::Format { found: u32::try_from(found).unwrap_or(u32::MAX) })
        }
        _ => serde_json::from_value(value).map_err(bad),
    }
}

/// serde's words without its place: a line is always its line 1.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line 1 column ") {
        Some((text, column)) if column != "0" => format!("{text}, column {column}"),
        Some((text, _)) => text.to_owned(),
        None => text.split(" at line ").next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"zonewire_trace":1,"role":"client","conn":5,"reference_unix_ms":0}"#;
    const LOST: &str = r#"{"time":1,"name":"packet_lost","data":{"pn":5}}"#;

    fn error(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_trace_is_a_header_and_events() {
        let log = read(format!("{HEADER}\n{LOST}\n\n{LOST}\n").as_bytes()).unwrap();
        assert_eq!((log.header.conn, log.records.len(), log.cut_off), (Some(5), 2, None));
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_left_out_and_told() {
        let log = read(format!("{HEADER}\n{LOST}\n{}", &LOST[..20]).as_bytes()).unwrap();
        assert_eq!((log.records.len(), log.cut_off), (1, Some(3)));
        let whole = read(format!("{HEADER}\n{LOST}\n{LOST}").as_bytes()).unwrap();
        assert_eq!((whole.records.len(), whole.cut_off), (2, None));
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let text = error(&format!("{HEADER}\n{LOST}\n{{\"time\":1\n{LOST}\n"));
        assert!(text.starts_with("line 3: not an event"), "{text}");
        let text = error(&format!("{HEADER}\n{}\n", r#"{"time":1,"name":"packet_eaten","data":{}}"#));
        assert!(text.starts_with("line 2: not an event (unknown variant `packet_eaten`"), "{text}");
        let text = error(&format!("{HEADER}\n{}\n", r#"{"time":-1,"name":"packet_lost","data":{"pn":5}}"#));
        assert!(text.starts_with("line 2: not an event"), "{text}");
        let mut bytes = format!("{HEADER}\n{LOST}\n").into_bytes();
        bytes.extend_from_slice(b"\xff\xfe\n");
        assert!(matches!(read(&bytes), Err(ReadError::Line { line: 3, .. })));
    }

    #[test]
    fn what_is_empty_or_no_trace_says_so() {
        assert_eq!(read(b""), Err(ReadError::Empty));
        assert_eq!(read(format!("{HEADER}\n").as_bytes()), Err(ReadError::NoEvents));
        assert!(error("hello\n").starts_with("line 1: not the header"));
        assert!(error("{}\n").contains("missing field `zonewire_trace`"));
        assert_eq!(read(br#"{"zonewire_trace":2}"#), Err(ReadError::Format { found: 2 }));
    }
}
