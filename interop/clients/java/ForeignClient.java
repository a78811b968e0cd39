// Apache Kafka's own producer, consumer and admin client. See README.md beside this folder.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

public final class ForeignClient implements AutoCloseable {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private final String bootstrap;
    private final JsonNode records;
    private final Admin admin;

    public static void main(String[] arguments) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        JsonNode plan = mapper.readTree(System.in);
        ObjectNode answer = JSON.objectNode();
        answer.put("client", "kafka-clients").put("version", AppInfoParser.getVersion());
        ArrayNode results = answer.putArray("results");
        try (ForeignClient client = new ForeignClient(plan)) {
            for (JsonNode step : plan.get("steps")) {
                ObjectNode result = results.addObject();
                try {
                    result.set("ok", client.carryOut(step));
                } catch (Exception error) {
                    result.put("error", error.toString());
                }
            }
        }
        System.out.println(mapper.writeValueAsString(answer));
    }

    private ForeignClient(JsonNode plan) {
        bootstrap = plan.get("bootstrap").asText();
        records = plan.get("records");
        admin = Admin.create(settings("default.api.timeout.ms", "20000", "request.timeout.ms", "10000"));
    }

    @Override
    public void close() {
        admin.close();
    }

    private JsonNode carryOut(JsonNode step) throws Exception {
        String topic = step.path("topic").asText();
        switch (step.get("do").asText()) {
            case "create":
                admin.createTopics(List.of(new NewTopic(topic, step.get("partitions").asInt(), (short) 1))).all().get();
                return JSON.booleanNode(true);
            case "produce":
                return produce(topic, step.get("codec").asText(), step.get("idempotent").asBoolean());
            case "read":
                return read(partitions(topic, step), step.get("count").asInt());
            case "metadata":
                return JSON.numberNode(
                    admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
            case "ends":
                return ends(partitions(topic, step));
            case "time":
                TopicPartition partition = new TopicPartition(topic, step.get("partition").asInt());
                OffsetSpec time = OffsetSpec.forTimestamp(step.get("timestamp").asLong());
                return JSON.numberNode(admin.listOffsets(Map.of(partition, time)).partitionResult(partition).get().offset());
            case "config":
                ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
                return JSON.textNode(admin.describeConfigs(List.of(resource)).all().get().get(resource)
                    .get(step.get("key").asText()).value());
            case "cluster":
                ObjectNode cluster = JSON.objectNode();
                cluster.put("id", admin.describeCluster().clusterId().get());
                cluster.put("brokers", admin.describeCluster().nodes().get().size());
                return cluster;
            case "delete":
                admin.deleteTopics(List.of(topic)).all().get();
                return JSON.booleanNode(true);
            default:
                throw new IllegalArgumentException("no such step: " + step);
        }
    }

    private JsonNode produce(String topic, String codec, boolean idempotent) throws Exception {
        Map<String, Object> settings = settings("compression.type", codec, "acks", "all", "linger.ms", "5");
        settings.put("enable.idempotence", idempotent);
        ByteArraySerializer bytes = new ByteArraySerializer();
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(settings, bytes, bytes)) {
            for (JsonNode record : records) {
                List<Header> headers = new ArrayList<>();
                for (JsonNode header : record.get("headers")) {
                    headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
                }
                Integer partition = record.get("partition").isNull() ? null : record.get("partition").asInt();
                sent.add(producer.send(new ProducerRecord<>(topic, partition, record.get("timestamp").asLong(),
                    bytes(record.get("key")), bytes(record.get("value")), headers)));
            }
        }
        ArrayNode places = JSON.arrayNode();
        for (Future<RecordMetadata> place : sent) {
            places.addArray().add(place.get().partition()).add(place.get().offset());
        }
        return places;
    }

    private JsonNode read(List<TopicPartition> partitions, int count) {
        ArrayNode read = JSON.arrayNode();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long deadline = System.nanoTime() + Duration.ofSeconds(20).toNanos();
            while (read.size() < count && System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    ObjectNode line = read.addObject();
                    line.put("partition", record.partition()).put("offset", record.offset());
                    line.put("timestamp", record.timestamp());
                    line.set("key", text(record.key()));
                    line.set("value", text(record.value()));
                    ArrayNode headers = line.putArray("headers");
                    for (Header header : record.headers()) {
                        headers.addArray().add(header.key()).add(text(header.value()));
                    }
                }
            }
        }
        return read;
    }

    private JsonNode ends(List<TopicPartition> partitions) {
        ArrayNode ends = JSON.arrayNode();
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            Map<TopicPartition, Long> first = consumer.beginningOffsets(partitions);
            Map<TopicPartition, Long> end = consumer.endOffsets(partitions);
            for (TopicPartition partition : partitions) {
                ends.addArray().add(first.get(partition)).add(end.get(partition));
            }
        }
        return ends;
    }

    private KafkaConsumer<byte[], byte[]> consumer() {
        Map<String, Object> settings = settings("enable.auto.commit", "false", "auto.offset.reset", "none");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private Map<String, Object> settings(String... more) {
        Map<String, Object> settings = new HashMap<>();
        settings.put("bootstrap.servers", bootstrap);
        for (int at = 0; at < more.length; at += 2) {
            settings.put(more[at], more[at + 1]);
        }
        return settings;
    }

    private static List<TopicPartition> partitions(String topic, JsonNode step) {
        List<TopicPartition> partitions = new ArrayList<>();
        for (int number = 0; number < step.get("partitions").asInt(); number++) {
            partitions.add(new TopicPartition(topic, number));
        }
        return partitions;
    }

    private static byte[] bytes(JsonNode text) {
        return text.isNull() ? null : Base64.getDecoder().decode(text.asText());
    }

    private static JsonNode text(byte[] bytes) {
        return bytes == null ? JSON.nullNode() : JSON.textNode(Base64.getEncoder().encodeToString(bytes));
    }
}
