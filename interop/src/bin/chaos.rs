//! `scripts/chaos`: every fault against Apache Kafka, as often as asked for. The results go to standard output; with those of earlier
//! runs of other faults into the same folder they make the table, which goes into docs/chaos.md if asked for.

// a program's output
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::process::ExitCode;

use rohrpost_interop::chaos::nodes::Nodes;
use rohrpost_interop::chaos::table::{Row, markdown};
use rohrpost_interop::chaos::{FAULTS, Fault, Plan, inflict};
use rohrpost_interop::root;

const USAGE: &str = "\
usage: chaos [--faults N] [--rate N] [--seed N] [--folder DIR] [--write-docs] [FAULT…]
  --faults N      so many of each kind (default 10)
  --rate N        records a second (default 1500)
  --seed N        of the proxy's schedule (default 1)
  --folder DIR    where outcomes and logs stay (default target/chaos)
  --table         do nothing: only the table of what is kept in the folder
  --write-docs    put the table into docs/chaos.md";
const BEGIN: &str = "<!-- made by scripts/chaos: begin -->\n";
const END: &str = "<!-- made by scripts/chaos: end -->";

fn main() -> ExitCode {
    let (plan, faults, write_docs) = match parse(std::env::args().skip(1)) {
        Ok(parsed) => parsed,
        Err(wrong) => {
            let names: Vec<_> = FAULTS.iter().map(|fault| fault.name()).collect();
            eprintln!("chaos: {wrong}\n{USAGE}\nfaults: {}", names.join(" "));
            return ExitCode::from(2);
        }
    };
    if let Err(error) = std::fs::create_dir_all(&plan.folder) {
        eprintln!("chaos: cannot make {}: {error}", plan.folder.display());
        return ExitCode::from(2);
    }
    let mut rows: Vec<Row> = Vec::new();
    let mut cluster: Option<(&[&str], Nodes)> = None;
    for &fault in &faults {
        // the same cluster as long as its layout fits
        if cluster.as_ref().is_none_or(|(layout, _)| *layout != fault.layout()) {
            drop(cluster.take());
            cluster = Some((fault.layout(), Nodes::start("chaos", fault.layout())));
        }
        let Some((_, nodes)) = &cluster else { continue };
        let row = inflict(fault, nodes, &plan);
        println!("{}", row.summary());
        let kept = plan.folder.join(format!("{}.json", fault.name()));
        if let Err(error) = std::fs::write(&kept, row.to_json().to_string()) {
            eprintln!("chaos: cannot write {}: {error}", kept.display());
            return ExitCode::FAILURE;
        }
        rows.push(row);
    }
    drop(cluster);
    let table = markdown(&FAULTS.iter().filter_map(|&fault| kept(&plan, fault)).collect::<Vec<_>>());
    println!("\n{table}");
    if write_docs && let Err(error) = write(&table) {
        eprintln!("chaos: {error}");
        return ExitCode::FAILURE;
    }
    let is_wrong = |row: &Row| !row.wrong.is_empty() || row.too_slow().is_some();
    if rows.iter().any(is_wrong) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(Plan, Vec<Fault>, bool), String> {
    let folder = root().join("target/chaos");
    let mut plan = Plan { faults: 10, rate: 1_500, seed: 1, folder };
    let (mut faults, mut write_docs, mut only_table) = (Vec::new(), false, false);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{argument} wants a value"));
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("{text} is no number"));
        match argument.as_str() {
            "--faults" => plan.faults = number(value()?)?,
            "--rate" => plan.rate = number(value()?)?,
            "--seed" => plan.seed = number(value()?)?,
            "--folder" => plan.folder = PathBuf::from(value()?),
            "--write-docs" => write_docs = true,
            "--table" => only_table = true,
            name => match FAULTS.iter().find(|fault| fault.name() == name) {
                Some(fault) => faults.push(*fault),
                None => return Err(format!("what is {name}?")),
            },
        }
    }
    if only_table {
        faults.clear();
    } else if faults.is_empty() {
        faults = FAULTS.to_vec();
    }
    Ok((plan, faults, write_docs))
}

/// What this run or an earlier one into the same folder came to.
fn kept(plan: &Plan, fault: Fault) -> Option<Row> {
    let text = std::fs::read_to_string(plan.folder.join(format!("{}.json", fault.name()))).ok()?;
    Row::from_json(&serde_json::from_str(&text).ok()?)
}

/// Puts the table where the last one stands.
fn write(table: &str) -> Result<(), String> {
    let path = root().join("docs/chaos.md");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let place = text.find(BEGIN).map(|at| at + BEGIN.len()).zip(text.find(END));
    let (from, to) = place.ok_or_else(|| format!("{} has no place for the table", path.display()))?;
    std::fs::write(&path, format!("{}{table}{}", &text[..from], &text[to..]))
        .map_err(|error| error.to_string())
}
