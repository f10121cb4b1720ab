//! The capacity model: from what `saturate` measured to cores, memory and egress for so many players.
//!
//! Reads the JSON files of `saturate --out` and prints the tables of `docs/capacity.md`, which has the model in words;
//! `--write` puts them there, between the two marks. Everything that is not measured is an argument, with its default named
//! in the table.

mod model;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;

use model::{Assumptions, Costs};

const BEGIN: &str = "<!-- figures: begin; `benches/capacity.sh` fills this in -->\n";
const END: &str = "<!-- figures: end -->\n";

/// From what `saturate` measured to cores, memory and egress.
///
/// Exit codes: 0 fine, 1 a file cannot be read, is no measurement, or cannot be written, 2 the command line is wrong.
#[derive(Parser)]
#[command(name = "capacity")]
struct Args {
    /// Files that `saturate --out` wrote.
    #[arg(required = true, value_name = "FILE.json")]
    files: Vec<PathBuf>,
    /// Numbers of players at once, each a line, 1 to 100,000,000.
    #[arg(long, value_delimiter = ',', default_value = "2000,10000,100000,1000000",
          value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    players: Vec<u32>,
    /// The share of a core's time that is planned for, 0.05 to 1: the rest is for peaks, other programs and the failure of a
    /// neighbour.
    #[arg(long, default_value_t = 0.6, value_parser = share)]
    utilisation: f64,
    /// Players of one zone at most, each zone a process, 1 to 10,000.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    zone_players: u32,
    /// Players online over a month, of those at the peak, 0.05 to 1.
    #[arg(long, default_value_t = 0.5, value_parser = share)]
    mean_load: f64,
    /// Write the tables into this file, between its marks, instead of printing them.
    #[arg(long, value_name = "FILE.md")]
    write: Option<PathBuf>,
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot {what} {}: {error}", path.display())]
    File { what: &'static str, path: PathBuf, error: std::io::Error },
    #[error("{}: no JSON of saturate: {why}", path.display())]
    Json { path: PathBuf, why: String },
    #[error("{}: the marks are missing between which the tables go", path.display())]
    Marks { path: PathBuf },
}

impl Error {
    fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { what, path, error }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("capacity: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let assumptions = Assumptions {
        utilisation: args.utilisation,
        zone_players: args.zone_players.into(),
        mean_load: args.mean_load,
    };
    let mut costs = Vec::new();
    for file in &args.files {
        costs.extend(read(file)?);
    }
    let tables = model::tables(&costs, &args.players, &assumptions);
    let Some(file) = &args.write else {
        print!("{tables}");
        return Ok(());
    };
    let old = fs::read_to_string(file).map_err(Error::file("read", file))?;
    let new = fill(&old, &tables).ok_or_else(|| Error::Marks { path: file.clone() })?;
    fs::write(file, new).map_err(Error::file("write", file))
}

/// The runs of a file: one, or several in `runs`.
fn read(file: &Path) -> Result<Vec<Costs>, Error> {
    let text = fs::read_to_string(file).map_err(Error::file("read", file))?;
    let bad = |why: String| Error::Json { path: file.to_owned(), why };
    let value: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let runs = value.get("runs").and_then(Value::as_array).map_or_else(|| vec![value.clone()], Clone::clone);
    runs.iter().map(|run| Costs::read(run).map_err(|name| bad(format!("`{name}` is missing")))).collect()
}

/// The text with `tables` between its marks.
fn fill(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

fn share(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.05..=1.0).contains(&number) { Ok(number) } else { Err("must be 0.05 to 1".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_the_marks_is_replaced_and_nothing_else() {
        let text = format!("a\n{BEGIN}old\n{END}z\n");
        let new = fill(&text, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}\nnew\n\n{END}z\n"));
        assert_eq!(fill(&new, "new\n").unwrap(), new);
        assert!(fill("no marks", "new").is_none());
    }

    #[test]
    fn the_document_has_the_marks() {
        let text = include_str!("../../../../docs/capacity.md");
        assert!(fill(text, "x").is_some());
    }
}
