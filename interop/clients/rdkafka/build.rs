//! Hands the client's version, as the manifest pins it, to the program.

fn main() {
    let manifest = std::fs::read_to_string("Cargo.toml").expect("the manifest is there");
    let line = manifest.lines().find(|line| line.starts_with("rdkafka = ")).expect("the client is named");
    let version = line
        .split('=')
        .filter_map(|part| part.split('"').next())
        .find(|part| part.starts_with(|c: char| c.is_ascii_digit()));
    println!("cargo::rustc-env=RDKAFKA_CRATE={}", version.expect("the version is pinned"));
    println!("cargo::rerun-if-changed=Cargo.toml");
}
