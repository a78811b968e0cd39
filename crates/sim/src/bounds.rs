//! What must not happen too often, or not in this world: bounds on effort, beside the checker's promises on outcomes.
//!
//! A producer that breaks a rule often repairs it by a retry, a new epoch or a split, and nobody is told a wrong outcome. It is worse for
//! it all the same. So some worlds are simple. In quiet ones ([`Plan::is_quiet`]) nothing goes wrong, hence nothing may be sent again,
//! refused or expire. Where brokers' processes die and nothing else happens ([`Plan::has_only_kills`]), one request in flight never
//! meets a gap. And with one request in flight acknowledged offsets are in send order whatever goes wrong, idempotence or not.

use std::collections::BTreeMap;

use rohrpost::{ErrorCode, Metrics, Reason};
use rohrpost_protocol::ApiKey;

use crate::cluster::{Cluster, Fault};
use crate::history::{History, Told};
use crate::plan::{Plan, WorldFault};

/// Batches of a partition that can be on the wire at once (IDM-7).
const IN_FLIGHT_MAX: u64 = 5;

/// What it may take beyond the brokers' session until the first record is written again: an election, a question, connections.
const STANDSTILL_SLACK_MS: u64 = 7_000;

/// With `request.timeout.ms` above this nothing times out where nothing goes wrong.
const PATIENT_MS: u64 = 4_000;

/// Notes what was too much.
pub fn check(plan: &Plan, history: &mut History, cluster: &Cluster, metrics: &Metrics) {
    if plan.is_quiet() {
        repairs(plan, history, cluster, metrics);
        refusals(plan, history, cluster, metrics);
        outcomes(plan, history);
    }
    if plan.has_only_kills() && is_idempotent(plan) && in_flight(plan) == 1 {
        gaps(plan, history, cluster);
    }
    if plan.has_only_standstills() {
        standstills(plan, history);
    }
    if has_one_in_flight(plan) && cluster.losses().is_empty() {
        offsets(history);
    }
}

/// Where nothing goes wrong, nothing is repaired: no retry, no new epoch, and no broker finds a sequence wrong (IDM-2, IDM-6).
fn repairs(plan: &Plan, history: &mut History, cluster: &Cluster, metrics: &Metrics) {
    // Old brokers refuse a producer that does not begin at 0, and that is put right by a new epoch (IDM-9).
    let is_refused = plan.first_sequence > 0 && plan.cluster.produce_max_version < 9;
    if !is_patient(plan) || is_refused {
        return;
    }
    let answered = |code: ErrorCode| answers(cluster, code);
    // What is given up on in flight leaves a gap (IDM-12), and what is split is missing for those behind it (ACC-22).
    if metrics.records_unknown > 0 || metrics.batches_split > 0 || answered(ErrorCode::MESSAGE_TOO_LARGE) > 0
    {
        return;
    }
    let (retried, bumps) = (metrics.batches_retried, metrics.epoch_bumps);
    if retried > 0 || bumps > 0 {
        let codes: Vec<String> =
            cluster.counts().answers.iter().map(|(of, times)| format!("{of:?}: {times}")).collect();
        history.violation(
            "effort without need",
            format!("nothing went wrong, yet {retried} batches were sent again and the epoch was raised {bumps} times; answers by API and code: {}", codes.join(", ")),
        );
    }
}

/// ACC-23: a topic's batches are refused as too large until its limit is learned, and then no more. Each refusal halves the size, and
/// at most five batches of a partition are on their way meanwhile. A single record that is too large is refused whatever was learned,
/// alone and before in batches with others. With acks=0 nobody is told, and nothing can be learned.
fn refusals(plan: &Plan, history: &mut History, cluster: &Cluster, metrics: &Metrics) {
    if plan.setting("acks") == Some("0") {
        return;
    }
    let largest = plan.number("batch.size", 16_384);
    let mut allowed = 0;
    for topic in &plan.cluster.topics {
        let limit = u64::from(topic.max_message_bytes);
        if limit < largest {
            let halvings = u64::from((largest / limit).ilog2()) + 2;
            allowed +=
                halvings * IN_FLIGHT_MAX * topic.partitions as u64 + halvings * metrics.records_not_written;
        }
    }
    let refused = answers(cluster, ErrorCode::MESSAGE_TOO_LARGE);
    if allowed > 0 && refused > allowed {
        history.violation(
            "too many refusals",
            format!(
                "{refused} batches were refused as too large; a limit that is learned explains {allowed}"
            ),
        );
    }
}

/// Where nothing goes wrong, brokers refuse nothing but what is too large or too new for them, and nobody waits for long: requests
/// and records outlive their time only where a burst over a slow link outlasts a short timeout. Then what was in flight is of unknown
/// fate, and stays in its epoch (IDM-16); if the batch before it ended unacknowledged, its sequence is refused until it is given up.
fn outcomes(plan: &Plan, history: &mut History) {
    let known = [
        ErrorCode::REQUEST_TIMED_OUT,
        ErrorCode::NETWORK_EXCEPTION,
        ErrorCode::MESSAGE_TOO_LARGE,
        ErrorCode::RECORD_LIST_TOO_LARGE,
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
    ];
    let latency = &plan.latency;
    let is_fast = latency.up_ms + latency.down_ms + latency.jitter_ms <= 15 && latency.write_max > 100_000;
    let has_time = is_fast
        && plan.number("delivery.timeout.ms", 120_000) >= 20_000
        && plan.number("batch.size", 16_384) >= 4_096
        && plan.number("max.request.size", 1_048_576) >= 20_000;
    let wrong = history.lives.iter().enumerate().find_map(|(id, life)| {
        let reason = life.told?.reason()?;
        let is_unknown = matches!(life.told, Some(Told::Unknown { .. }));
        let is_wrong = match reason {
            Reason::Broker(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER) => is_patient(plan) || !is_unknown,
            Reason::Broker(code) => !known.contains(&code),
            Reason::Expired => has_time,
            _ => false,
        };
        is_wrong.then(|| format!("record {id} was told {:?}, and nothing went wrong", life.told))
    });
    if let Some(text) = wrong {
        history.violation("failed without need", text);
    }
}

/// A burst over a slow link can take longer than a short timeout.
fn is_patient(plan: &Plan) -> bool {
    plan.number("request.timeout.ms", 30_000) >= PATIENT_MS
}

/// IDM-12, with one request in flight: whoever expired leaves its epoch before anybody else is sent, so no broker ever finds a gap.
fn gaps(plan: &Plan, history: &mut History, cluster: &Cluster) {
    let times = answers(cluster, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    if times > 0 && plan.first_sequence == 0 {
        history.violation(
            "sequence refused",
            format!("one request in flight, and brokers only died and came back: yet {times} times a sequence was out of order"),
        );
    }
}

/// RTY-4: a broker that stands still is left as soon as the cluster has another leader; nobody waits for `request.timeout.ms`, or until it
/// goes on.
fn standstills(plan: &Plan, history: &mut History) {
    let within_ms = plan.cluster.session_timeout_ms + STANDSTILL_SLACK_MS;
    let (silence_ms, id) = history.longest_silence;
    if silence_ms > within_ms {
        history.violation(
            "waits for a silent leader",
            format!(
                "the partition of record {id} told nothing for {silence_ms} ms; its leader stood still, and {within_ms} ms would be fine"
            ),
        );
    }
}

/// ACC-20: a partition's batches one after the other, so that what is acknowledged later stands later.
fn offsets(history: &mut History) {
    let mut acked: BTreeMap<(usize, i32), Vec<(u32, i64)>> = BTreeMap::new();
    for life in &history.lives {
        if let (Some((number, _)), Some(Told::Acked { partition, offset: Some(offset) })) =
            (life.accepted, life.told)
        {
            acked.entry((life.topic, partition)).or_default().push((number, offset));
        }
    }
    let mut found = None;
    for ((topic, partition), mut records) in acked {
        records.sort_unstable();
        if let Some(pair) = records.windows(2).find(|pair| pair[0].1 >= pair[1].1) {
            found = Some(format!("topic {topic}, partition {partition}: {:?}, by number and offset", pair));
        }
    }
    if let Some(text) = found {
        history.violation("acknowledged out of order", text);
    }
}

/// One request in flight, and offsets that mean the same all the time.
fn has_one_in_flight(plan: &Plan) -> bool {
    let anew = |fault: &WorldFault| {
        matches!(fault, WorldFault::Cluster(Fault::DeleteTopic { .. } | Fault::RecreateTopic { .. }))
    };
    in_flight(plan) == 1
        && plan.setting("acks").is_none()
        && !plan.faults.iter().any(|fault| anew(&fault.what))
}

pub(crate) fn is_idempotent(plan: &Plan) -> bool {
    plan.setting("acks").is_none() && plan.setting("enable.idempotence").is_none()
}

fn in_flight(plan: &Plan) -> u64 {
    plan.number("max.in.flight.requests.per.connection", 5)
}

fn answers(cluster: &Cluster, code: ErrorCode) -> u64 {
    cluster.counts().answers.get(&(ApiKey::Produce as i16, code.0)).copied().unwrap_or_default()
}
