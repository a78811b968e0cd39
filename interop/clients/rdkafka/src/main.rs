//! The rdkafka crate: librdkafka for Rust. See README.md beside this folder.

use std::error::Error;
use std::io::Read;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value, json};

type Fallible<T> = Result<T, Box<dyn Error>>;

const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let plan: Value = serde_json::from_str(&text)?;
    let client = Client { plan: &plan };
    let mut results = Vec::new();
    for step in array(&plan["steps"]) {
        results.push(match client.carry_out(step).await {
            Ok(value) => json!({ "ok": value }),
            Err(error) => json!({ "error": error.to_string() }),
        });
    }
    let version =
        format!("{} (librdkafka {})", env!("RDKAFKA_CRATE"), rdkafka::util::get_rdkafka_version().1);
    println!("{}", json!({"client": "rdkafka", "version": version, "results": results}));
    Ok(())
}

struct Client<'a> {
    plan: &'a Value,
}

impl Client<'_> {
    async fn carry_out(&self, step: &Value) -> Fallible<Value> {
        let topic = step["topic"].as_str().unwrap_or_default();
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
        match step["do"].as_str().unwrap_or_default() {
            "create" => {
                let replication = TopicReplication::Fixed(1);
                let new = NewTopic::new(topic, number(&step["partitions"]) as i32, replication);
                told(self.admin()?.create_topics([&new], &options).await?)
            }
            "produce" => self.produce(topic, step).await,
            "read" => self.read(topic, step),
            "metadata" => {
                let metadata = self.consumer()?.fetch_metadata(Some(topic), TIMEOUT)?;
                Ok(json!(metadata.topics()[0].partitions().len()))
            }
            "ends" => {
                let consumer = self.consumer()?;
                let ends = (0..number(&step["partitions"]) as i32)
                    .map(|partition| consumer.fetch_watermarks(topic, partition, TIMEOUT));
                Ok(json!(ends.collect::<Result<Vec<_>, _>>()?))
            }
            "time" => {
                let partition = number(&step["partition"]) as i32;
                let mut asked = TopicPartitionList::new();
                asked.add_partition_offset(topic, partition, Offset::Offset(number(&step["timestamp"])))?;
                let found = self.consumer()?.offsets_for_times(asked, TIMEOUT)?;
                let found = found.find_partition(topic, partition).ok_or("no answer")?;
                found.error()?;
                Ok(json!(found.offset().to_raw()))
            }
            "config" => {
                let asked = [&ResourceSpecifier::Topic(topic)];
                let described = self.admin()?.describe_configs(asked, &options).await?;
                let described =
                    described.into_iter().next().ok_or("no answer")?.map_err(|code| code.to_string())?;
                let key = step["key"].as_str().unwrap_or_default();
                Ok(json!(described.get(key).and_then(|entry| entry.value.as_deref())))
            }
            "cluster" => {
                let consumer = self.consumer()?;
                let metadata = consumer.fetch_metadata(None, TIMEOUT)?;
                let id = consumer.client().fetch_cluster_id(TIMEOUT);
                Ok(json!({"id": id, "brokers": metadata.brokers().len()}))
            }
            "delete" => told(self.admin()?.delete_topics(&[topic], &options).await?),
            other => Err(format!("no such step: {other}").into()),
        }
    }

    async fn produce(&self, topic: &str, step: &Value) -> Fallible<Value> {
        let producer: FutureProducer = self
            .config()
            .set("compression.type", step["codec"].as_str().unwrap_or_default())
            .set("enable.idempotence", step["idempotent"].to_string())
            .set("acks", "all")
            .set("linger.ms", "5")
            .create()?;
        let mut sent = Vec::new();
        for record in array(&self.plan["records"]) {
            let (key, value) = (bytes(&record["key"])?, bytes(&record["value"])?);
            let mut headers = OwnedHeaders::new();
            for header in array(&record["headers"]) {
                let value = bytes(&header[1])?;
                let key = header[0].as_str().unwrap_or_default();
                headers = headers.insert(Header { key, value: value.as_deref() });
            }
            let mut message = FutureRecord::<[u8], [u8]>::to(topic)
                .timestamp(number(&record["timestamp"]))
                .headers(headers);
            message.key = key.as_deref();
            message.payload = value.as_deref();
            message.partition = record["partition"].as_i64().map(|partition| partition as i32);
            sent.push(producer.send_result(message).map_err(|(error, _)| error)?);
        }
        let mut places = Vec::new();
        for delivery in sent {
            let place = delivery.await?.map_err(|(error, _)| error)?;
            places.push(json!([place.partition, place.offset]));
        }
        producer.flush(TIMEOUT)?;
        Ok(json!(places))
    }

    fn read(&self, topic: &str, step: &Value) -> Fallible<Value> {
        let consumer = self.consumer()?;
        let mut assigned = TopicPartitionList::new();
        for partition in 0..number(&step["partitions"]) as i32 {
            assigned.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&assigned)?;
        let mut read = Vec::new();
        let deadline = Instant::now() + TIMEOUT;
        while (read.len() as i64) < number(&step["count"]) && Instant::now() < deadline {
            let Some(message) = consumer.poll(Duration::from_millis(200)) else { continue };
            let message = message?;
            let headers = message.headers().map(|headers| {
                headers.iter().map(|header| json!([header.key, text(header.value)])).collect::<Vec<_>>()
            });
            read.push(json!({
                "partition": message.partition(),
                "offset": message.offset(),
                "timestamp": message.timestamp().to_millis(),
                "key": text(message.key()),
                "value": text(message.payload()),
                "headers": headers.unwrap_or_default(),
            }));
        }
        Ok(json!(read))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.plan["bootstrap"].as_str().unwrap_or_default());
        config
    }

    fn admin(&self) -> Fallible<AdminClient<DefaultClientContext>> {
        Ok(self.config().create()?)
    }

    /// The group is never joined and nothing is committed to it: the client only insists on a name.
    fn consumer(&self) -> Fallible<BaseConsumer> {
        let mut config = self.config();
        config.set("group.id", "none").set("enable.auto.commit", "false").set("auto.offset.reset", "error");
        Ok(config.create()?)
    }
}

fn told(results: Vec<rdkafka::admin::TopicResult>) -> Fallible<Value> {
    for result in results {
        result.map_err(|(name, code)| format!("{name}: {code}"))?;
    }
    Ok(json!(true))
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn bytes(value: &Value) -> Fallible<Option<Vec<u8>>> {
    Ok(value.as_str().map(|text| STANDARD.decode(text)).transpose()?)
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| STANDARD.encode(bytes))
}
