//! Weaves a small program, builds it with the compiler and runs it with each of its mutants.

use std::path::{Path, PathBuf};
use std::process::Command;

use rohrpost_mutation::{Genre, Mutant, Options, Place, RegionKind, SWITCH, Span, WovenText, weave_text};

const PROGRAM: &str = r#"
const LIMIT: i32 = 3 + 4;

struct Settings { wide: bool, tall: bool }

const NONE: Settings = Settings { wide: false, tall: false };

fn below(a: i32, b: i32) -> bool {
    a < b
}

fn mixed(a: bool, b: bool, c: bool) -> bool {
    a /* größer */ && b || !c // the operators nest
}

fn counted(mut count: u32) -> u32 {
    count += 2;
    count
}

fn word(number: i32, loud: bool) -> &'static str {
    match number {
        1 | 2 => "few",
        3 if loud => "THREE",
        _ => "many",
    }
}

fn settings() -> Settings {
    Settings { wide: true, tall: true, ..NONE }
}

fn chained(found: Option<i32>) -> bool {
    if let Some(number) = found && number == 7 { true } else { false }
}

const fn doubled(a: i32) -> i32 { a * 2 }

fn numbers() -> impl Iterator<Item = i32> { 0..3 }

fn sign(number: i32, strict: bool) -> i32 {
    match number < 0 {
        _ if strict => 0,
        true => -1,
        false => 1,
    }
}

#[cfg(feature = "odd")]
fn is_odd(number: i32) -> bool { number % 2 == 1 }

#[cfg(not(feature = "odd"))]
fn is_odd(number: i32) -> bool { number % 3 == 1 }

fn never() -> i32 { [0; 1 + 1].len() as i32 }

fn main() {
    println!("below {} {}", below(1, 1), below(1, 2));
    println!("mixed {} {}", mixed(true, false, true), mixed(true, true, true));
    println!("counted {}", counted(1));
    println!("word {} {} {}", word(1, false), word(3, true), word(3, false));
    println!("settings {} {}", settings().wide, settings().tall);
    println!("chained {} {}", chained(Some(7)), chained(Some(6)));
    if LIMIT + doubled(1) == 0 { println!("{} {} {} {}", is_odd(1), never(), numbers().count(), sign(1, false)); }
}
"#;

/// What the program says without a mutant.
const AS_WRITTEN: [&str; 6] = [
    "below false true",
    "mixed false true",
    "counted 3",
    "word few THREE many",
    "settings true true",
    "chained true false",
];

#[test]
fn each_mutant_changes_what_it_says_and_nothing_else() {
    let cases = [
        (mutant(Genre::FnValue, "a < b", "true"), "below true true"),
        (mutant_at(Genre::BinaryOperator, "a < b", 2, "<="), "below true true"),
        (mutant_at(Genre::BinaryOperator, "a < b", 2, ">"), "below false false"),
        (mutant(Genre::BinaryOperator, "&& b ||", "||"), "mixed true true"),
        (mutant(Genre::BinaryOperator, "|| !c", "&&"), "mixed false false"),
        (mutant(Genre::UnaryOperator, "!c", ""), "mixed true true"),
        (mutant(Genre::BinaryOperator, "+= 2", "-="), "counted 4294967295"),
        (mutant(Genre::BinaryOperator, "+= 2", "*="), "counted 2"),
        (mutant(Genre::MatchArm, "1 | 2 =>", ""), "word many THREE many"),
        (mutant(Genre::MatchArmGuard, "loud =>", "true"), "word few THREE THREE"),
        (mutant(Genre::MatchArmGuard, "loud =>", "false"), "word few many many"),
        (mutant(Genre::StructField, "wide: true", ""), "settings false true"),
        (mutant(Genre::StructField, "tall: true", ""), "settings true false"),
        (mutant(Genre::BinaryOperator, "== 7", "!="), "chained false true"),
    ];
    let mutants: Vec<_> = (1..).zip(cases.iter().map(|(mutant, _)| mutant)).collect();
    let woven = weave(&mutants);
    assert_eq!(woven.unwoven, [0; 0]);
    let program = build("each", &woven.text);

    assert_eq!(said(&program, 0), AS_WRITTEN);
    for ((number, mutant), (_, changed)) in mutants.iter().zip(&cases) {
        let subject = changed.split(' ').next();
        let expected = AS_WRITTEN.map(|line| if line.split(' ').next() == subject { *changed } else { line });
        assert_eq!(said(&program, *number), expected, "mutant {number}: {mutant:?}");
    }
}

#[test]
fn what_has_no_room_for_a_switch_is_told_as_unwoven() {
    let mutants = [
        mutant(Genre::BinaryOperator, "+ 4", "-"),
        mutant(Genre::BinaryOperator, "&& number", "||"),
        mutant(Genre::FnValue, "a * 2", "1"),
        mutant(Genre::BinaryOperator, "* 2", "/"),
        mutant(Genre::BinaryOperator, "+ 1].len", "*"),
        mutant(Genre::BinaryOperator, "fn main", "-"),
        mutant(Genre::FnValue, "0..3", "::std::iter::empty()"),
        mutant(Genre::MatchArm, "true => -1", ""),
    ];
    let WovenText { text, regions, unwoven, .. } = weave(&numbered(&mutants));
    assert_eq!(unwoven, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(text, PROGRAM);
    assert!(regions.iter().all(|region| region.kind == RegionKind::Function));
}

#[test]
fn regions_say_where_the_changes_and_their_functions_are() {
    let mutants =
        [mutant_at(Genre::BinaryOperator, "a < b", 2, "<="), mutant(Genre::FnValue, "a < b", "true")];
    let WovenText { text, regions, .. } = weave(&numbered(&mutants));
    let within = |kind, mutants: &[u32]| {
        let region = regions.iter().find(|region| region.kind == kind && region.mutants == mutants);
        region.map_or("none", |region| &text[region.start..region.end])
    };
    assert_eq!(within(RegionKind::Change, &[1]), "(a) <= (b)");
    assert_eq!(within(RegionKind::Change, &[2]), "return true;");
    assert_eq!(within(RegionKind::Site, &[1]), "(if ::mutation_switch::on(1) { (a) <= (b) } else { a < b })");
    let function =
        regions.iter().find(|region| region.kind == RegionKind::Function).expect("there are functions");
    assert!(text[function.start..function.end].starts_with("{\n    if ::mutation_switch::on(2)"));
}

#[test]
fn what_a_run_comes_to_is_written_down_once() {
    let mutants = [
        mutant_at(Genre::BinaryOperator, "a < b", 2, "<="),
        mutant(Genre::MatchArmGuard, "loud =>", "true"),
        mutant(Genre::FnValue, "[0; 1 + 1]", "5"),
    ];
    let program = build("reached", &weave(&numbered(&mutants)).text);
    let record = program.with_extension("record");
    let _ = std::fs::remove_file(&record);
    let status = Command::new(&program)
        .env("ROHRPOST_MUTANTS_REACHED", &record)
        .output()
        .expect("the program starts")
        .status;
    assert!(status.success());
    let mut reached: Vec<_> =
        std::fs::read_to_string(&record).expect("a record").lines().map(str::to_owned).collect();
    reached.sort_unstable();
    assert_eq!(reached, ["1", "2"]);
}

#[test]
fn what_needs_a_feature_that_is_off_is_absent() {
    let mutants = [mutant(Genre::BinaryOperator, "% 2", "/"), mutant(Genre::BinaryOperator, "% 3", "/")];
    let woven = weave(&numbered(&mutants));
    assert_eq!((woven.absent, woven.unwoven), (vec![1], vec![]));
}

fn weave(mutants: &[(u32, &Mutant)]) -> WovenText {
    let options = Options { features_off: vec!["odd".to_owned()], const_functions: false };
    weave_text(PROGRAM, mutants, &options).expect("the program is Rust")
}

fn numbered(mutants: &[Mutant]) -> Vec<(u32, &Mutant)> {
    (1..).zip(mutants).collect()
}

/// A mutant whose span starts where this text first stands in the program. Its end is of no use here.
fn mutant(genre: Genre, text: &str, replacement: &str) -> Mutant {
    mutant_at(genre, text, 0, replacement)
}

/// As `mutant`, some characters further on.
fn mutant_at(genre: Genre, text: &str, further: usize, replacement: &str) -> Mutant {
    let at = PROGRAM.find(text).expect("the program has this text") + further;
    let before = &PROGRAM[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
    let start = Place { line, column };
    Mutant {
        file: String::new(),
        genre,
        replacement: replacement.to_owned(),
        span: Span { start, end: start },
    }
}

fn build(name: &str, text: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("switch.rs"), SWITCH).expect("a file");
    std::fs::write(folder.join("program.rs"), text).expect("a file");
    compile(&folder, &["--crate-type=lib", "--crate-name=mutation_switch", "switch.rs"]);
    compile(
        &folder,
        &["-Coverflow-checks=off", "--extern=mutation_switch=libmutation_switch.rlib", "program.rs"],
    );
    folder.join("program")
}

fn compile(folder: &Path, arguments: &[&str]) {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .current_dir(folder)
        .args(["--edition=2024", "--cap-lints=allow"])
        .args(arguments)
        .output();
    let output = output.expect("the compiler starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn said(program: &Path, mutant: u32) -> Vec<String> {
    let output = Command::new(program)
        .env("ROHRPOST_MUTANT", mutant.to_string())
        .output()
        .expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
