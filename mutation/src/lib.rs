//! Weaves many mutants of a source file into it, each behind a switch, so that one build holds them all.
//!
//! A mutant is a small change of the code that a test should notice: `<` becomes `<=`, a function returns `false` at once, an arm of a
//! `match` is gone. Tools that try mutants build the crate once for each, which takes most of the time. Here `a < b` becomes
//! `(if on(17) { a <= b } else { a < b })`: one build, and the environment says which mutant a process runs with.
//!
//! The list of mutants is cargo-mutants' (`cargo mutants --list --json`): its mutants, its names. This crate finds the place of each in
//! the syntax tree and changes the text there; the rest of the text stays as it is. Within the changed code, and only there, the other
//! mutants are left out (one is on at a time), so that what is woven grows with the number of mutants, not with its square.
//!
//! What cannot be woven is told: an operator in a constant, which is computed by the compiler; `&&` beside `let` in a condition. What
//! was woven and does not compile is known to the compiler alone; for its messages each woven file comes with the byte ranges of the
//! changes ([`Region`]). `scripts/mutants` does the rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

mod find;
mod render;

use find::find_sites;
use render::render;

/// The source of the crate `mutation_switch`, which woven code calls.
pub const SWITCH: &str = include_str!("switch.rs");

/// What is to be woven.
#[derive(Debug, Deserialize)]
pub struct Job {
    /// The folder that the paths of the mutants start from.
    pub root: PathBuf,
    /// cargo-mutants' list; a mutant's number is its place in it, from 1.
    pub mutants: Vec<Mutant>,
    /// Numbers to leave out.
    #[serde(default)]
    pub without: Vec<u32>,
    /// How to weave.
    #[serde(flatten)]
    pub options: Options,
}

/// How to weave.
#[derive(Debug, Default, Deserialize)]
pub struct Options {
    /// Features of the crates that are off: what stands under `#[cfg(feature = "…")]` with one of them is not built.
    pub features_off: Vec<String>,
    /// Whether the switch can be asked in a `const fn`: see `switch.rs`.
    pub const_functions: bool,
}

/// One mutant, as cargo-mutants lists it; fields that are not needed are left out.
#[derive(Debug, Deserialize)]
pub struct Mutant {
    /// The source file, from the root.
    pub file: String,
    /// What is changed.
    pub genre: Genre,
    /// What comes in its place.
    pub replacement: String,
    /// The text that is replaced: a function's body, an operator, an arm.
    pub span: Span,
}

/// What a mutant changes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub enum Genre {
    /// A function returns a fixed value at once.
    FnValue,
    /// `==` becomes `!=` and so on, assignments (`+=`) included.
    BinaryOperator,
    /// `!` or `-` is deleted.
    UnaryOperator,
    /// An arm of a `match` that has an arm `_` is deleted.
    MatchArm,
    /// The guard of an arm becomes `true` or `false`.
    MatchArmGuard,
    /// A field of a struct expression with `..base` is deleted.
    StructField,
}

/// A stretch of a source file.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Span {
    /// The place of its first character.
    pub start: Place,
    /// The place behind its last character.
    pub end: Place,
}

/// A place in a source file.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// What was woven.
#[derive(Debug, Serialize)]
pub struct Woven {
    /// The files, with all mutants that could be woven.
    pub files: Vec<WovenFile>,
    /// Numbers of those that could not.
    pub unwoven: Vec<u32>,
    /// Numbers of those in code that is not built.
    pub absent: Vec<u32>,
}

/// A file with mutants.
#[derive(Debug, Serialize)]
pub struct WovenFile {
    /// Its path, from the root.
    pub path: String,
    /// Its new text.
    pub text: String,
    /// Where in the new text the mutants are.
    pub regions: Vec<Region>,
}

/// A byte range of woven text, to find out what a compiler's message speaks of.
#[derive(Debug, Serialize)]
pub struct Region {
    /// Its first byte.
    pub start: usize,
    /// The byte behind its last.
    pub end: usize,
    /// What it holds.
    pub kind: RegionKind,
    /// The mutants it belongs to; none for a function.
    pub mutants: Vec<u32>,
}

/// What a [`Region`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RegionKind {
    /// The changed code of one mutant.
    Change,
    /// An expression with all its mutants and itself.
    Site,
    /// A function with a body, whether it has mutants or not.
    Function,
}

/// Weaves all mutants of a job, but those it says to leave out.
///
/// # Errors
///
/// A source file that cannot be read or is not Rust.
pub fn weave(job: &Job) -> Result<Woven, String> {
    let mut per_file = BTreeMap::<&str, Vec<(u32, &Mutant)>>::new();
    for (number, mutant) in (1..).zip(&job.mutants) {
        if !job.without.contains(&number) {
            per_file.entry(&mutant.file).or_default().push((number, mutant));
        }
    }
    let mut woven = Woven { files: Vec::new(), unwoven: Vec::new(), absent: Vec::new() };
    for (path, mutants) in per_file {
        let source = read(&job.root.join(path))?;
        let done = weave_text(&source, &mutants, &job.options).map_err(|error| format!("{path}: {error}"))?;
        woven.files.push(WovenFile { path: path.to_owned(), text: done.text, regions: done.regions });
        woven.unwoven.extend(done.unwoven);
        woven.absent.extend(done.absent);
    }
    Ok(woven)
}

/// One text with its mutants.
#[derive(Debug)]
pub struct WovenText {
    /// The new text.
    pub text: String,
    /// Where in it the mutants are.
    pub regions: Vec<Region>,
    /// Numbers of those that have no place there, in order.
    pub unwoven: Vec<u32>,
    /// Numbers of those in code that is not built, in order.
    pub absent: Vec<u32>,
}

/// Weaves mutants, with their numbers, into one text.
///
/// # Errors
///
/// The text is not Rust.
pub fn weave_text(source: &str, mutants: &[(u32, &Mutant)], options: &Options) -> Result<WovenText, String> {
    let file =
        syn::parse_file(source).map_err(|error| format!("line {}: {error}", error.span().start().line))?;
    let found = find_sites(&file, mutants, options);
    let (text, regions) = render(source, &found.sites);
    Ok(WovenText { text, regions, unwoven: found.unwoven, absent: found.absent })
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
