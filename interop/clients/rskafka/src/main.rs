//! The rskafka crate: a small client in Rust alone. Its caller chooses partitions. See README.md beside this folder.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use serde_json::{Value, json};

type Fallible<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let plan: Value = serde_json::from_str(&text)?;
    let bootstrap = plan["bootstrap"].as_str().unwrap_or_default().to_owned();
    let client = ClientBuilder::new(vec![bootstrap]).build().await?;
    let mut results = Vec::new();
    for step in array(&plan["steps"]) {
        let done = tokio::time::timeout(Duration::from_secs(20), carry_out(&client, &plan, step)).await;
        results.push(match done {
            Ok(Ok(Some(value))) => json!({ "ok": value }),
            Ok(Ok(None)) => json!({ "none": "rskafka has no such call" }),
            Ok(Err(error)) => json!({ "error": error.to_string() }),
            Err(_) => json!({ "error": "not done in time" }),
        });
    }
    println!("{}", json!({"client": "rskafka", "version": env!("RSKAFKA_CRATE"), "results": results}));
    Ok(())
}

async fn carry_out(client: &Client, plan: &Value, step: &Value) -> Fallible<Option<Value>> {
    let topic = step["topic"].as_str().unwrap_or_default();
    Ok(Some(match step["do"].as_str().unwrap_or_default() {
        "create" => {
            let partitions = number(&step["partitions"]) as i32;
            client.controller_client()?.create_topic(topic, partitions, 1, 10_000).await?;
            json!(true)
        }
        "produce" => produce(client, plan, topic, step).await?,
        "read" => read(client, topic, step).await?,
        "metadata" => {
            let topics = client.list_topics().await?;
            let topic = topics.iter().find(|listed| listed.name == topic).ok_or("not listed")?;
            json!(topic.partitions.len())
        }
        "ends" => {
            let mut ends = Vec::new();
            for number in 0..number(&step["partitions"]) as i32 {
                let partition = partition(client, topic, number).await?;
                let first = partition.get_offset(OffsetAt::Earliest).await?;
                ends.push([first, partition.get_offset(OffsetAt::Latest).await?]);
            }
            json!(ends)
        }
        "time" => {
            let partition = partition(client, topic, number(&step["partition"]) as i32).await?;
            json!(partition.get_offset(OffsetAt::Timestamp(time(&step["timestamp"])?)).await?)
        }
        "delete" => {
            client.controller_client()?.delete_topic(topic, 10_000).await?;
            json!(true)
        }
        _ => return Ok(None),
    }))
}

async fn produce(client: &Client, plan: &Value, topic: &str, step: &Value) -> Fallible<Value> {
    let codec = match step["codec"].as_str().unwrap_or_default() {
        "none" => Compression::NoCompression,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        "zstd" => Compression::Zstd,
        other => return Err(format!("no codec {other}").into()),
    };
    let mut places = Vec::new();
    let mut batches = BTreeMap::<i32, (Vec<usize>, Vec<Record>)>::new();
    for (at, record) in array(&plan["records"]).iter().enumerate() {
        let mut headers = BTreeMap::new();
        let mut left_out = None;
        for header in array(&record["headers"]) {
            let name = header[0].as_str().unwrap_or_default().to_owned();
            match bytes(&header[1])? {
                None => left_out = Some("a header needs a value"),
                Some(value) => {
                    if headers.insert(name, value).is_some() {
                        left_out = Some("headers are a map");
                    }
                }
            }
        }
        places.push(left_out.map_or(Value::Null, |why| json!({ "left_out": why })));
        if left_out.is_none() {
            let key = bytes(&record["key"])?;
            let value = bytes(&record["value"])?;
            let record_made = Record { key, value, headers, timestamp: time(&record["timestamp"])? };
            // the caller chooses; without a wish, the first
            let batch = batches.entry(number(&record["partition"]) as i32).or_default();
            batch.0.push(at);
            batch.1.push(record_made);
        }
    }
    for (number, (indexes, records)) in batches {
        let offsets = partition(client, topic, number).await?.produce(records, codec).await?;
        for (at, offset) in indexes.into_iter().zip(offsets) {
            places[at] = json!([number, offset]);
        }
    }
    Ok(json!(places))
}

async fn read(client: &Client, topic: &str, step: &Value) -> Fallible<Value> {
    let mut read = Vec::new();
    for number in 0..number(&step["partitions"]) as i32 {
        let partition = partition(client, topic, number).await?;
        let mut next = partition.get_offset(OffsetAt::Earliest).await?;
        let end = partition.get_offset(OffsetAt::Latest).await?;
        while next < end {
            let (records, _) = partition.fetch_records(next, 1..4_000_000, 1000).await?;
            for found in records {
                next = found.offset + 1;
                let headers = found.record.headers.iter();
                read.push(json!({
                    "partition": number,
                    "offset": found.offset,
                    "timestamp": found.record.timestamp.timestamp_millis(),
                    "key": text(found.record.key.as_deref()),
                    "value": text(found.record.value.as_deref()),
                    "headers": headers.map(|(name, value)| json!([name, text(Some(value))])).collect::<Vec<_>>(),
                }));
            }
        }
    }
    Ok(json!(read))
}

async fn partition(client: &Client, topic: &str, number: i32) -> Fallible<PartitionClient> {
    Ok(client.partition_client(topic, number, UnknownTopicHandling::Retry).await?)
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn time(value: &Value) -> Fallible<DateTime<Utc>> {
    Ok(DateTime::from_timestamp_millis(number(value)).ok_or("a time out of range")?)
}

fn bytes(value: &Value) -> Fallible<Option<Vec<u8>>> {
    Ok(value.as_str().map(|text| STANDARD.decode(text)).transpose()?)
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| STANDARD.encode(bytes))
}
