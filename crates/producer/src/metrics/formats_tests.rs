//! The two texts held to their formats' rules: what Prometheus and an OpenTelemetry collector would refuse or misread.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::tests::snapshot;
use super::{MetricsSnapshot, prometheus_text};

/// What stands under one HELP and TYPE.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    /// In the order of the text, unescaped.
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Sample {
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// All labels but the bound of a bucket.
    fn series(&self) -> Vec<(String, String)> {
        self.labels.iter().filter(|(key, _)| key != "le").cloned().collect()
    }
}

/// Reads a text by the rules of exposition format 0.0.4
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>): each family has one HELP and then one TYPE, its
/// samples follow and stand together, no series is there twice, and the last line ends like the others.
pub(super) fn parse(text: &str) -> Vec<Family> {
    assert!(text.ends_with('\n') && !text.contains("\n\n") && !text.contains('\r'), "lines");
    let mut families: Vec<Family> = Vec::new();
    let mut helped = None;
    let mut series = BTreeSet::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(families.iter().all(|family| family.name != name), "two headers: {line}");
            assert!(words.replace("\\\\", "").replace("\\n", "").find('\\').is_none(), "escapes: {line}");
            assert_eq!(helped.replace(name), None, "HELP without TYPE before {line}");
        } else if let Some(of_type) = line.strip_prefix("# TYPE ") {
            let (name, kind) = of_type.split_once(' ').unwrap();
            assert_eq!(helped.take(), Some(name), "HELP comes first: {line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            families.push(Family { name: name.to_owned(), kind: kind.to_owned(), samples: Vec::new() });
        } else {
            let sample = parse_sample(line);
            assert!(series.insert((sample.name.clone(), sample.labels.clone())), "there twice: {line}");
            let Some(family) = families.last_mut().filter(|_| helped.is_none()) else {
                panic!("no header: {line}")
            };
            let ends: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            let is_of_it = |end: &&str| sample.name.strip_suffix(*end) == Some(family.name.as_str());
            assert!(ends.iter().any(is_of_it), "of another family: {line}");
            family.samples.push(sample);
        }
    }
    families
}

fn parse_sample(line: &str) -> Sample {
    let is_name = |name: &str, extra: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || extra.contains(c))
    };
    let (name, mut rest) = line.split_once('{').unwrap_or_else(|| panic!("no labels: {line}"));
    assert!(is_name(name, ":"), "{line}");
    let mut labels: Vec<(String, String)> = Vec::new();
    while !rest.starts_with('}') {
        let (key, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        assert!(is_name(key, "") && !key.starts_with("__"), "{line}");
        assert!(labels.iter().all(|(other, _)| other != key), "a label twice: {line}");
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break at,
                Some((_, '\\')) => value.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, c @ ('\\' | '"'))) => c,
                    other => panic!("no such escape: {other:?} in {line}"),
                }),
                Some((_, c)) => value.push(c),
                None => panic!("a label without end: {line}"),
            }
        };
        labels.push((key.to_owned(), value));
        rest = &quoted[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    let number = rest.strip_prefix("} ").unwrap_or_else(|| panic!("no value: {line}"));
    let value = match number {
        "NaN" => f64::NAN,
        _ => number.parse().unwrap_or_else(|_| panic!("no number: {line}")),
    };
    Sample { name: name.to_owned(), labels, value }
}

// MTR-3
#[test]
fn the_text_for_prometheus_keeps_its_format_s_rules() {
    let families = parse(&snapshot().to_prometheus());
    assert!(families.len() > 80);
    for Family { name, kind, samples } in &families {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        for sample in samples {
            assert_eq!(sample.label("client_id"), Some("a \"client\" \\ of\nmine"), "unescaped");
            assert!(kind == "gauge" || sample.value >= 0.0, "{sample:?}");
            assert_eq!(sample.label("le").is_some(), sample.name.ends_with("_bucket"), "{sample:?}");
        }
        let by_topic = samples.iter().any(|sample| sample.label("topic").is_some());
        let by_node = samples.iter().any(|sample| sample.label("node_id").is_some());
        assert_eq!(by_topic, name.contains("_topic_"), "{name}");
        assert_eq!(by_node, name.contains("_node_"), "{name}");
    }
}

// MTR-2, MTR-3
#[test]
fn every_histogram_has_growing_buckets_up_to_infinity_a_sum_and_a_count_in_seconds() {
    let families = parse(&snapshot().to_prometheus());
    let mut recorded = 0;
    let histograms: Vec<_> = families.iter().filter(|family| family.kind == "histogram").collect();
    assert_eq!(histograms.len(), 2);
    for Family { name, samples, .. } in histograms {
        assert!(name.ends_with("_seconds"), "{name}");
        let mut by_series: BTreeMap<_, Vec<&Sample>> = BTreeMap::new();
        samples.iter().for_each(|sample| by_series.entry(sample.series()).or_default().push(sample));
        for (series, samples) in by_series {
            let (buckets, rest): (Vec<_>, Vec<_>) =
                samples.into_iter().partition(|sample| sample.name.ends_with("_bucket"));
            let bound = |sample: &Sample| match sample.label("le").unwrap() {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().unwrap(),
            };
            let buckets: Vec<(f64, f64)> = buckets.iter().map(|s| (bound(s), s.value)).collect();
            assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{series:?}: {buckets:?}");
            let [sum, count] = &rest[..] else { panic!("{series:?}: {rest:?}") };
            assert!(sum.name.ends_with("_sum") && count.name.ends_with("_count"), "{series:?}");
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, count.value)), "{series:?}");
            // No more than the largest bounds of what was recorded, and no less than the smallest.
            let largest = buckets.iter().find(|(_, up_to)| *up_to == count.value).unwrap().0;
            assert!(sum.value <= count.value * largest || count.value == 0.0, "{series:?}");
            recorded += count.value as u64;
        }
    }
    assert!(recorded > 10, "{recorded}");
}

#[test]
fn several_producers_share_a_text_without_a_second_header() {
    let (mut one, mut two) = (snapshot(), snapshot());
    (one.client_id, two.client_id) = ("one".into(), "two".into());
    let both = parse(&prometheus_text(&[one.clone(), two]));
    let alone = parse(&one.to_prometheus());
    assert_eq!(both.len(), alone.len());
    for (both, alone) in both.iter().zip(&alone) {
        assert_eq!((&both.name, both.samples.len()), (&alone.name, 2 * alone.samples.len()));
        let of_two = both.samples.iter().filter(|sample| sample.label("client_id") == Some("two"));
        assert_eq!(of_two.count(), alone.samples.len());
    }
}

/// The messages of opentelemetry-proto 1.x that a request may have in it, each field with what it is in JSON:
/// `opentelemetry/proto/{collector/metrics,metrics,common,resource}/v1/*.proto`, and by the OTLP specification, "JSON Protobuf
/// Encoding" (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>): names in lowerCamelCase, integers of 64 bits as
/// decimal text, enums as numbers. Fields that we never write are left out.
const MESSAGES: &[(&str, &[(&str, &str)])] = &[
    ("ExportMetricsServiceRequest", &[("resourceMetrics", "[ResourceMetrics]")]),
    ("ResourceMetrics", &[("resource", "Resource"), ("scopeMetrics", "[ScopeMetrics]")]),
    ("Resource", &[("attributes", "[KeyValue]")]),
    ("ScopeMetrics", &[("scope", "InstrumentationScope"), ("metrics", "[Metric]")]),
    ("InstrumentationScope", &[("name", "string"), ("version", "string")]),
    (
        "Metric",
        &[
            ("name", "string"),
            ("description", "string"),
            ("unit", "string"),
            ("gauge", "Gauge"),
            ("sum", "Sum"),
            ("histogram", "Histogram"),
        ],
    ),
    ("Gauge", &[("dataPoints", "[NumberDataPoint]")]),
    (
        "Sum",
        &[("dataPoints", "[NumberDataPoint]"), ("aggregationTemporality", "enum"), ("isMonotonic", "bool")],
    ),
    ("Histogram", &[("dataPoints", "[HistogramDataPoint]"), ("aggregationTemporality", "enum")]),
    (
        "NumberDataPoint",
        &[
            ("attributes", "[KeyValue]"),
            ("startTimeUnixNano", "fixed64"),
            ("timeUnixNano", "fixed64"),
            ("asDouble", "double"),
            ("asInt", "fixed64"),
        ],
    ),
    (
        "HistogramDataPoint",
        &[
            ("attributes", "[KeyValue]"),
            ("startTimeUnixNano", "fixed64"),
            ("timeUnixNano", "fixed64"),
            ("count", "fixed64"),
            ("sum", "double"),
            ("bucketCounts", "[fixed64]"),
            ("explicitBounds", "[double]"),
            ("max", "double"),
        ],
    ),
    ("KeyValue", &[("key", "string"), ("value", "AnyValue")]),
    ("AnyValue", &[("stringValue", "string")]),
];

/// Whether a value is what the specification says it is, all the way down.
#[track_caller]
fn assert_is(value: &Value, what: &str) {
    if let Some(of) = what.strip_prefix('[').and_then(|what| what.strip_suffix(']')) {
        let values = value.as_array().unwrap_or_else(|| panic!("no list of {of}: {value}"));
        values.iter().for_each(|value| assert_is(value, of));
        return;
    }
    let Some((_, fields)) = MESSAGES.iter().find(|(name, _)| *name == what) else {
        let holds = match what {
            "string" => value.is_string(),
            "bool" => value.is_boolean(),
            "double" => value.is_number(),
            "enum" => value.is_u64(),
            "fixed64" => value.as_str().is_some_and(|text| text.parse::<u64>().is_ok()),
            other => panic!("no such type: {other}"),
        };
        return assert!(holds, "no {what}: {value}");
    };
    for (name, value) in value.as_object().unwrap_or_else(|| panic!("no {what}: {value}")) {
        let Some((_, of)) = fields.iter().find(|(field, _)| field == name) else {
            panic!("{what} has no field {name}")
        };
        assert_is(value, of);
    }
}

/// The metrics of a request.
fn metrics(snapshot: &MetricsSnapshot) -> Vec<Value> {
    let request: Value = serde_json::from_str(&snapshot.to_otlp_json()).unwrap();
    assert_is(&request, "ExportMetricsServiceRequest");
    request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap().clone()
}

// MTR-3
#[test]
fn a_request_for_a_collector_has_the_specification_s_fields_and_no_others() {
    let metrics = metrics(&snapshot());
    let mut names = BTreeSet::new();
    for metric in &metrics {
        let name = metric["name"].as_str().unwrap();
        assert!(names.insert(name), "{name} is there twice");
        // UCUM, and never empty
        let unit = metric["unit"].as_str().unwrap();
        assert!(["By", "By/s", "s", "ms", "ns", "1", "1/s"].contains(&unit), "{name}: {unit}");
        let kinds: Vec<&str> =
            ["gauge", "sum", "histogram"].into_iter().filter(|kind| metric.get(kind).is_some()).collect();
        let [kind] = kinds[..] else { panic!("{name}: {kinds:?}") };
        let data = &metric[kind];
        if kind != "gauge" {
            assert_eq!(data["aggregationTemporality"], 2, "AGGREGATION_TEMPORALITY_CUMULATIVE: {name}");
        }
        assert_eq!(kind == "sum", name.ends_with(".total"), "{name}");
        assert!(kind != "sum" || data["isMonotonic"] == true, "{name}");
        let mut series = BTreeSet::new();
        let points = data["dataPoints"].as_array().unwrap();
        assert!(!points.is_empty(), "{name}");
        for point in points {
            assert!(series.insert(point["attributes"].to_string()), "{name}: {point} is there twice");
            let nanos = |of: &str| point[of].as_str().unwrap().parse::<u64>().unwrap();
            assert!(nanos("startTimeUnixNano") < nanos("timeUnixNano"), "{name}");
            if kind == "histogram" {
                assert_histogram(point);
            } else {
                let values = ["asInt", "asDouble"].into_iter().filter(|of| point.get(of).is_some());
                assert_eq!(values.count(), 1, "one of them: {name} {point}");
            }
        }
    }
    assert!(names.len() > 50);
}

/// metrics.proto: one bucket more than bounds, bounds strictly increasing, the count is the sum of all buckets.
fn assert_histogram(point: &Value) {
    let counts = point["bucketCounts"].as_array().unwrap();
    let counts: Vec<u64> = counts.iter().map(|count| count.as_str().unwrap().parse().unwrap()).collect();
    let bounds = point["explicitBounds"].as_array().unwrap();
    let bounds: Vec<f64> = bounds.iter().map(|bound| bound.as_f64().unwrap()).collect();
    assert_eq!(counts.len(), bounds.len() + 1);
    assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
    assert_eq!(counts.iter().sum::<u64>().to_string(), point["count"].as_str().unwrap());
    assert!(point["max"].as_f64() <= point["sum"].as_f64(), "{point}");
}
