//! What the core asks of the cluster, and what the answers change: metadata, the producer id and its epoch.
//! See [`super::core`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rohrpost_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, MetadataResponse};
use rohrpost_protocol::{ApiKey, ErrorCode, Message, VersionRange};
use tracing::{debug, warn};

use super::core::{Links, SenderCore};
use super::idempotence::Identity;
use super::partition::Bump;
use super::request::{Body, Request};
use crate::metadata::{Change, Question};

/// What came of the wish to ask something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// There is nothing to ask.
    Nothing,
    Sent,
    /// No broker can take it; one that is connected will soon.
    WaitsForSlot,
    /// No broker can take it.
    Blocked,
}

impl SenderCore {
    pub(super) fn ask_for_metadata(&mut self, links: &mut dyn Links, now_ms: u64, sent: &mut bool) -> Asked {
        if !self.metadata.is_asking() && self.metadata.gives_up(now_ms) && self.may_rebootstrap() {
            self.rebootstrap(links, now_ms);
        }
        let Some(question) = self.metadata.question(now_ms) else { return Asked::Nothing };
        let node = match self.node_to_ask(links, now_ms) {
            Ok(node) => Some(node),
            Err(Asked::WaitsForSlot) => {
                self.metadata.not_sent(now_ms);
                return Asked::WaitsForSlot;
            }
            Err(_) => None,
        };
        let Some(node) = node else {
            self.metadata.not_sent(now_ms);
            // MET-12: no broker is usable, connecting or connectable.
            if self.may_rebootstrap() && self.nodes.iter().all(|node| links.is_backing_off(*node)) {
                self.rebootstrap(links, now_ms);
            }
            return Asked::Blocked;
        };
        if !links.ready(node, now_ms) {
            self.metadata.not_sent(now_ms);
            return if links.is_connected(node) { Asked::WaitsForSlot } else { Asked::Blocked };
        }
        // Below 1 an empty list asks for all topics.
        let Some(version) = links.negotiate(node, ApiKey::Metadata, VersionRange::new(1, 13)) else {
            self.trouble(node, "the broker has no Metadata version of this client".into());
            links.disconnect(node, now_ms);
            return Asked::Blocked;
        };
        let request = Request { version, body: Body::Metadata(question.clone()) };
        match links.send(node, request, now_ms) {
            Ok(()) => {
                self.metadata.sent(question, now_ms);
                self.questions.entry(node).or_insert(now_ms);
                self.asked = Some(node);
                *sent = true;
                Asked::Sent
            }
            Err(_) => Asked::Blocked,
        }
    }

    pub(super) fn handle_metadata(
        &mut self,
        question: &Question,
        answer: &MetadataResponse<'_>,
        version: i16,
        links: &mut dyn Links,
        now_ms: u64,
    ) {
        let random = self.random.f64();
        match self.metadata.handle_answer(question, answer, version, now_ms, random) {
            Change::Snapshot => {
                self.shared.book.got_metadata(now_ms);
                self.troubles.clear();
                self.tell_trouble();
                self.set_nodes(links);
                let anew = self.note_recreated();
                self.publish();
                self.treat_recreated(&anew);
                self.fail_vanished_partitions();
                self.leave_silent(links, now_ms);
            }
            Change::Nothing => {}
            Change::Rebootstrap => self.rebootstrap(links, now_ms),
        }
    }

    /// Tells the links of new brokers, and removes those that are gone, as soon as nothing of theirs is unanswered.
    pub(super) fn set_nodes(&mut self, links: &mut dyn Links) {
        let snapshot = self.metadata.snapshot().clone();
        for (node, broker) in &snapshot.brokers {
            links.set_node(*node, &broker.host, broker.port);
            self.nodes.insert(*node);
        }
        self.has_gone = false;
        let gone: Vec<i32> =
            self.nodes.iter().copied().filter(|node| !snapshot.brokers.contains_key(node)).collect();
        for node in gone {
            if links.in_flight(node) > 0 {
                self.has_gone = true;
            } else {
                links.remove_node(node);
                self.nodes.remove(&node);
            }
        }
        self.ways.retain(|node, _| self.nodes.contains(node));
    }

    /// MET-12: only if there is something else to fall back from.
    pub(super) fn may_rebootstrap(&self) -> bool {
        self.metadata.may_rebootstrap() && self.nodes.iter().any(|node| *node >= 0)
    }

    /// MET-12: queued records stay, all else begins anew.
    pub(super) fn rebootstrap(&mut self, links: &mut dyn Links, now_ms: u64) {
        warn!("no broker can be reached: starting again from bootstrap.servers");
        self.metadata.rebootstrap(now_ms);
        for node in std::mem::take(&mut self.nodes) {
            links.remove_node(node);
        }
        self.start(links);
        self.publish();
    }

    pub(super) fn publish(&self) {
        let snapshot = self.metadata.snapshot();
        self.shared.accumulator.apply(snapshot);
        self.shared.metadata.publish(snapshot.clone());
    }

    pub(super) fn trouble(&mut self, node: i32, trouble: String) {
        self.troubles.insert(node, trouble);
        self.tell_trouble();
    }

    /// The text that a metadata timeout shows: every server that was tried, and why it did not help.
    pub(super) fn tell_trouble(&self) {
        let shared = &self.shared;
        let name = |node: i32| match usize::try_from(-1 - node)
            .ok()
            .and_then(|i| shared.config.bootstrap_servers.get(i))
        {
            Some(server) => server.to_string(),
            None => match self.metadata.snapshot().brokers.get(&node) {
                Some(broker) => format!("broker {node} at {}:{}", broker.host, broker.port),
                None => format!("broker {node}"),
            },
        };
        let texts: Vec<String> =
            self.troubles.iter().rev().map(|(node, text)| format!("{} ({text})", name(*node))).collect();
        let text = (!texts.is_empty()).then(|| Arc::from(format!("tried {}", texts.join(", "))));
        shared.metadata.set_trouble(text);
    }

    /// IDM-1
    pub(super) fn ask_for_identity(&mut self, links: &mut dyn Links, now_ms: u64, sent: &mut bool) -> Asked {
        let is_needed = self.metadata.is_asking() || !self.metadata.snapshot().brokers.is_empty();
        let Some(ids) = self.idempotence.as_mut().filter(|ids| is_needed && ids.wants_id(now_ms)) else {
            return Asked::Nothing;
        };
        let Some(node) = links.least_loaded(now_ms) else { return Asked::Blocked };
        if !links.ready(node, now_ms) {
            return Asked::Blocked;
        }
        let Some(version) =
            links.negotiate(node, ApiKey::InitProducerId, InitProducerIdRequest::STABLE_VERSIONS)
        else {
            let text =
                "the brokers are too old for idempotence (no InitProducerId); set enable.idempotence=false";
            self.fail(ErrorCode::UNSUPPORTED_VERSION, text.into());
            return Asked::Nothing;
        };
        match links.send(node, Request { version, body: Body::InitProducerId }, now_ms) {
            Ok(()) => {
                ids.asked();
                *sent = true;
                Asked::Sent
            }
            Err(_) => Asked::Blocked,
        }
    }

    pub(super) fn handle_identity(&mut self, answer: &InitProducerIdResponse, now_ms: u64) {
        let code = answer.error_code;
        let Some(ids) = self.idempotence.as_mut() else { return };
        if code.is_ok() && answer.producer_id >= 0 && answer.producer_epoch >= 0 {
            ids.got(Identity { producer_id: answer.producer_id, epoch: answer.producer_epoch });
            self.shared.stats.has_identity.store(true, Ordering::Release);
            *self.shared.stats.identity_trouble.lock() = None;
            self.shared.metadata.wake_all();
            return;
        }
        match code {
            ErrorCode::CLUSTER_AUTHORIZATION_FAILED => self.fail(
                code,
                "the cluster does not allow idempotent writes (InitProducerId: CLUSTER_AUTHORIZATION_FAILED); \
                 grant IdempotentWrite, or set enable.idempotence=false"
                    .into(),
            ),
            ErrorCode::UNSUPPORTED_VERSION | ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED => {
                self.fail(code, format!("InitProducerId was refused: {code}").into());
            }
            _ => {
                // A broker that has just started answers so until it has a block of ids.
                if code.is_retriable() {
                    debug!("InitProducerId was answered with {code}, trying again");
                } else {
                    warn!("InitProducerId was answered with {code}, trying again");
                }
                let text = format!("no producer id yet: InitProducerId was answered with {code}");
                *self.shared.stats.identity_trouble.lock() = Some(text.into());
                self.identity_failed(now_ms);
            }
        }
    }

    pub(super) fn identity_failed(&mut self, now_ms: u64) {
        let random = self.random.f64();
        if let Some(ids) = self.idempotence.as_mut() {
            ids.failed(now_ms, random);
        }
    }

    /// IDM-6, IDM-8, IDM-12: partitions that cannot go on in their epoch leave it, once nothing of theirs is on the wire.
    pub(super) fn leave_epochs(&mut self) {
        let Some(ids) = self.idempotence.as_mut() else { return };
        let partitions = &mut self.partitions;
        let stats = &self.shared.stats;
        self.bumping.retain(|key| {
            let state = &mut partitions[*key as usize];
            if !state.can_leave_epoch() {
                return true;
            }
            if state.bump == Bump::Yes || !state.is_resolved() {
                if let Some(used) = state.identity {
                    let before = ids.current();
                    ids.bump(used);
                    if ids.current() != before {
                        stats.epoch_bumps.fetch_add(1, Ordering::Relaxed);
                        debug!(?used, now = ?ids.current(), "producer epoch bumped");
                    }
                }
                match ids.current() {
                    Some(identity) => state.restart(identity),
                    None => state.identity = None,
                }
            }
            state.bump = Bump::No;
            false
        });
        if ids.current().is_none() {
            self.shared.stats.has_identity.store(false, Ordering::Release);
        }
    }
}
