//! Both snapshot codecs over a scene of 901 cubes, by the rule of the data set's README: frame `i` is encoded knowing only
//! frames up to `i - age`, each packet is decoded by what its receiver holds, and compared exactly.
//!
//! Under loss each packet is lost with the given probability; the baseline is the newest frame that was received and is
//! known to be. The bytes of pushed tables are counted into the mean.

mod codec;
mod run;
mod scene;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use benches::println;
use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use codec::{Codec, Compact, Fast, MAX_AGE, Start};
use run::Report;
use scene::Scene;

/// Where the data set lies, seen from the repository.
const DATA: &str = "../shared/data/cubes901.bin.xz";

/// Measures the snapshot codecs on a scene of cubes.
#[derive(Parser)]
#[command(name = "cubes")]
struct Args {
    /// One codec; without it both.
    #[arg(long)]
    codec: Option<Which>,
    /// One age of the baseline in frames, 1..=63; without it 1 to 12.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=MAX_AGE as i64))]
    age: Option<u8>,
    /// One loss in percent; without it 0, 5 and 20.
    #[arg(long, value_parser = percent)]
    loss: Option<f64>,
    /// The scene, unpacked or as .xz; without it the data set beside the repository.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Where the compact codec's adaptation starts in each packet.
    #[arg(long, value_enum, default_value = "acknowledged")]
    start: Start,
    /// Seed of the losses.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Prints JSON instead of the table: one object, or an array if there are several runs.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    Fast,
    Compact,
}

impl Which {
    const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Compact => "compact",
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=100.0).contains(&value) { Ok(value) } else { Err("not within 0..=100".to_owned()) }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let file = args.file.clone().unwrap_or_else(default_file);
    let scene = match Scene::load(&file) {
        Ok(scene) => scene,
        Err(error) => {
            eprintln!("cubes: {error}");
            // The file is what the command line names.
            return ExitCode::from(2);
        }
    };
    let codecs = args.codec.map_or(vec![Which::Fast, Which::Compact], |codec| vec![codec]);
    let ages = args.age.map_or((1..=12).collect(), |age| vec![age]);
    let losses = args.loss.map_or(vec![0.0, 5.0, 20.0], |loss| vec![loss]);
    if !args.json {
        println!("codec    age  loss  bytes/frame  bits/cube  encode µs  decode µs  train µs  tables  exact");
    }
    let (mut exact, mut objects) = (true, Vec::new());
    for which in codecs {
        for age in &ages {
            for loss in &losses {
                let report = measure(&scene, which, usize::from(*age), *loss, &args);
                exact &= report.exact;
                if args.json {
                    objects.push(object(which, *age, *loss, &report));
                } else {
                    print(which, *age, *loss, &report);
                }
            }
        }
    }
    if args.json {
        let one = (objects.len() == 1).then(|| objects.pop()).flatten();
        println!("{}", one.unwrap_or(Value::Array(objects)));
    }
    if exact { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The data set beside the repository, whether run from its root or from elsewhere.
fn default_file() -> PathBuf {
    let near = PathBuf::from(DATA);
    if near.exists() { near } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(DATA) }
}

fn measure(scene: &Scene, which: Which, age: usize, loss: f64, args: &Args) -> Report {
    let mut codec: Box<dyn Codec> = match which {
        Which::Fast => Box::new(Fast::new(age)),
        Which::Compact => Box::new(Compact::new(age, args.start)),
    };
    run::run(scene, codec.as_mut(), age, loss / 100.0, args.seed)
}

fn print(which: Which, age: u8, loss: f64, report: &Report) {
    println!(
        "{:<8} {age:>3} {loss:>4} % {:>12.2} {:>10.2} {:>10.1} {:>10.1} {:>9.1} {:>7}  {}",
        which.name(),
        report.bytes_per_frame,
        report.bits_per_changed_cube,
        report.encode_us,
        report.decode_us,
        report.train_us,
        report.table_bytes,
        if report.exact { "yes" } else { "NO" },
    );
}

fn object(which: Which, age: u8, loss: f64, report: &Report) -> Value {
    json!({
        "codec": which.name(),
        "age": age,
        "loss": loss,
        "bytes_per_frame": report.bytes_per_frame,
        "bits_per_changed_cube": report.bits_per_changed_cube,
        "encode_us": report.encode_us,
        "decode_us": report.decode_us,
        "train_us": report.train_us,
        "exact": report.exact,
        "table_bytes": report.table_bytes,
    })
}
