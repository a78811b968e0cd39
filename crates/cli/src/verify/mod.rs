//! `rohrpost verify`: did every record get a true outcome? See docs/verify.md.
//!
//! * [`identity`] is what a record carries, [`outcomes`] a line for each outcome and the file of them, [`promise`] what the settings
//!   promise.
//! * [`send`] sends and hears the outcomes, [`check`] reads the topic; both tell the [`ledger`], which holds one against the other.
//! * [`verdict`] is what it came to, [`report`] prints that.
//!
//! The sender's callbacks hand each outcome to a thread that keeps it: nothing here slows the producer but a disk that does not keep
//! up with `--outcomes`.

pub(crate) mod args;
mod check;
mod identity;
mod ledger;
mod outcomes;
mod promise;
mod report;
mod send;
mod verdict;

use std::path::Path;

use rohrpost::{Config, ProducerBuilder};

use self::args::Verify;
use self::check::Checked;
use self::ledger::Ledger;
use self::outcomes::{Head, Troubles};
use self::report::Report;
use self::send::Run;
use crate::cluster::{Target, settings};
use crate::failure::Failure;
use crate::{interrupt, terminal, topics};

pub(crate) fn run(options: &Verify) -> Result<(), Failure> {
    match (&options.check, &options.topic) {
        (Some(file), _) => check_file(options, file),
        (None, Some(topic)) => send_and_check(options, topic),
        (None, None) => Err(Failure::start("-t is missing: which topic?")),
    }
}

/// Sends, and reads back unless that is not wanted.
fn send_and_check(options: &Verify, topic: &str) -> Result<(), Failure> {
    let (builder, config) = configure(options)?;
    let writer = options.outcomes.as_deref().map(outcomes::Writer::create).transpose()?;
    let target = Target::open(&options.cluster)?;
    let result = topics::ensure_exactly(&target.bootstrap_servers, topic, options.partitions)
        .and_then(|()| Run::open(options, builder, &config, &target.bootstrap_servers, topic))
        .and_then(|run| run.all(writer))
        .and_then(|(head, ledger, sent)| {
            let checked = if options.no_check {
                Checked::unread(ledger)
            } else {
                check::check(&target.bootstrap_servers, &head, ledger, false)
            };
            Report::new(&head, checked, sent.troubles).ended_early(sent.ended_early).tell(options.json)
        });
    let closed = target.close();
    result.and(closed)
}

/// Checks what an earlier run has kept.
fn check_file(options: &Verify, file: &Path) -> Result<(), Failure> {
    interrupt::catch(|count| {
        if count > 1 {
            std::process::exit(1);
        }
    })?;
    let mut ledger = None;
    let new_ledger = |head: &Head| Ledger::new(head, &options.deleted_at);
    let (head, end) = outcomes::read(file, |head, outcome| {
        ledger.get_or_insert_with(|| new_ledger(head)).outcome(&outcome)
    })?;
    let mut ledger = ledger.unwrap_or_else(|| new_ledger(&head));
    ledger.end_of_outcomes(None);
    if end.is_none() {
        terminal::note(&format!(
            "{} has no end: its run was killed, and records without an outcome are not judged",
            file.display()
        ));
    }
    let target = Target::open(&options.cluster)?;
    let checked = check::check(&target.bootstrap_servers, &head, ledger, !options.deleted_at.is_empty());
    let told = Report::new(&head, checked, end.unwrap_or(Troubles::default())).tell(options.json);
    let closed = target.close();
    told.and(closed)
}

/// Settings are checked before anything is connected.
fn configure(options: &Verify) -> Result<(ProducerBuilder, Config), Failure> {
    let builder = ProducerBuilder::new("").set_all(settings(&options.settings)?);
    // the embedded broker's address is known only once it runs
    let servers = options.cluster.bootstrap_server.as_deref().unwrap_or("127.0.0.1:9092");
    let builder = builder.set("bootstrap.servers", servers).map_err(Failure::start)?;
    let config = builder.check().map_err(Failure::start)?;
    Ok((builder, config))
}
