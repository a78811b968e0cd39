//! `rohrpost completions` and `rohrpost man`: both are made from the same description of flags that parses them, so they
//! cannot go stale.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::args::{Arguments, Completions, Man};
use crate::failure::Failure;
use crate::terminal;
use crate::topics::print;

pub(crate) fn completions(options: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "rohrpost", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub(crate) fn pages(options: &Man) -> Result<(), Failure> {
    let dir = &options.dir;
    fs::create_dir_all(dir)
        .map_err(|error| Failure::start(format!("cannot make the directory {}: {error}", dir.display())))?;
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    let count = write_pages(command, "rohrpost", dir)
        .map_err(|(path, error)| Failure::run(format!("cannot write {}: {error}", path.display())))?;
    terminal::note(&format!("{count} pages in {}", dir.display()));
    Ok(())
}

/// The page of a command, and those of the commands in it; how many that were.
fn write_pages(command: clap::Command, name: &str, dir: &Path) -> Result<usize, (PathBuf, std::io::Error)> {
    let mut count = 1;
    for inner in command.get_subcommands() {
        count += write_pages(inner.clone(), &format!("{name}-{}", inner.get_name()), dir)?;
    }
    let path = dir.join(format!("{name}.1"));
    let write = || {
        let mut page = Vec::new();
        // clap wants a name for ever, and a page is made once per run
        let title: &'static str = Box::leak(name.to_owned().into_boxed_str());
        clap_mangen::Man::new(command.name(title)).render(&mut page)?;
        fs::File::create(&path)?.write_all(&page)
    };
    write().map_err(|error| (path.clone(), error))?;
    Ok(count)
}
