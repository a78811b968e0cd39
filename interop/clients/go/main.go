// franz-go. See README.md beside this folder.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type plan struct {
	Bootstrap string
	Records   []record
	Steps     []step
}

// Byte slices travel as base64, nil as null: encoding/json's own rule.
type record struct {
	Key       []byte   `json:"key"`
	Value     []byte   `json:"value"`
	Headers   []header `json:"headers"`
	Timestamp int64    `json:"timestamp"`
	Partition *int32   `json:"partition"`
	Offset    int64    `json:"offset"`
}

type step struct {
	Do, Topic, Codec, Key string
	Partitions, Partition int32
	Count                 int
	Timestamp             int64
	Idempotent            bool
}

type header struct {
	name  string
	value []byte
}

func (h *header) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[2]any{&h.name, &h.value})
}

func (h header) MarshalJSON() ([]byte, error) {
	return json.Marshal([2]any{h.name, h.value})
}

var codecs = map[string]kgo.CompressionCodec{
	"none":   kgo.NoCompression(),
	"gzip":   kgo.GzipCompression(),
	"snappy": kgo.SnappyCompression(),
	"lz4":    kgo.Lz4Compression(),
	"zstd":   kgo.ZstdCompression(),
}

func main() {
	var given plan
	if err := json.NewDecoder(os.Stdin).Decode(&given); err != nil {
		fmt.Fprintln(os.Stderr, "the plan:", err)
		os.Exit(2)
	}
	results := []any{}
	for _, step := range given.Steps {
		value, err := carryOut(&given, step)
		if err != nil {
			results = append(results, map[string]any{"error": err.Error()})
		} else {
			results = append(results, map[string]any{"ok": value})
		}
	}
	answer := map[string]any{"client": "franz-go", "version": version(), "results": results}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		os.Exit(2)
	}
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		if module.Path == "github.com/twmb/franz-go" {
			return module.Version[1:]
		}
	}
	return "unknown"
}

func carryOut(given *plan, step step) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	switch step.Do {
	case "produce":
		return produce(ctx, given, step)
	case "read":
		return read(ctx, given, step)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(given.Bootstrap))
	if err != nil {
		return nil, err
	}
	admin := kadm.NewClient(client)
	defer admin.Close()
	switch step.Do {
	case "create":
		created, err := admin.CreateTopic(ctx, step.Partitions, 1, nil, step.Topic)
		return true, errors.Join(err, created.Err)
	case "metadata":
		topics, err := admin.ListTopics(ctx, step.Topic)
		return len(topics[step.Topic].Partitions), errors.Join(err, topics.Error())
	case "ends":
		return ends(ctx, admin, step)
	case "time":
		listed, err := admin.ListOffsetsAfterMilli(ctx, step.Timestamp, step.Topic)
		offset, _ := listed.Lookup(step.Topic, step.Partition)
		return offset.Offset, errors.Join(err, listed.Error())
	case "config":
		described, err := admin.DescribeTopicConfigs(ctx, step.Topic)
		if err != nil {
			return nil, err
		}
		config, err := described.On(step.Topic, nil)
		for _, entry := range config.Configs {
			if entry.Key == step.Key && entry.Value != nil {
				return *entry.Value, nil
			}
		}
		return nil, errors.Join(err, config.Err)
	case "cluster":
		cluster, err := admin.BrokerMetadata(ctx)
		return map[string]any{"id": cluster.Cluster, "brokers": len(cluster.Brokers)}, err
	case "delete":
		deleted, err := admin.DeleteTopic(ctx, step.Topic)
		return true, errors.Join(err, deleted.Err)
	}
	return nil, fmt.Errorf("no such step: %s", step.Do)
}

// A client either chooses partitions by key or takes those of the records: so there are two.
func produce(ctx context.Context, given *plan, step step) (any, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(given.Bootstrap),
		kgo.ProducerBatchCompression(codecs[step.Codec]),
		kgo.RequiredAcks(kgo.AllISRAcks()),
	}
	if !step.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	choosing, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer choosing.Close()
	told, err := kgo.NewClient(append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		return nil, err
	}
	defer told.Close()
	sent := make([]*kgo.Record, len(given.Records))
	failed := make([]error, len(given.Records))
	for at, record := range given.Records {
		sent[at] = &kgo.Record{
			Topic: step.Topic, Key: record.Key, Value: record.Value, Timestamp: time.UnixMilli(record.Timestamp),
		}
		for _, header := range record.Headers {
			sent[at].Headers = append(sent[at].Headers, kgo.RecordHeader{Key: header.name, Value: header.value})
		}
		client := choosing
		if record.Partition != nil {
			client, sent[at].Partition = told, *record.Partition
		}
		client.Produce(ctx, sent[at], func(_ *kgo.Record, err error) { failed[at] = err })
	}
	if err := errors.Join(choosing.Flush(ctx), told.Flush(ctx), errors.Join(failed...)); err != nil {
		return nil, err
	}
	places := [][2]int64{}
	for _, record := range sent {
		places = append(places, [2]int64{int64(record.Partition), record.Offset})
	}
	return places, nil
}

func read(ctx context.Context, given *plan, step step) (any, error) {
	assigned := map[int32]kgo.Offset{}
	for number := range step.Partitions {
		assigned[number] = kgo.NewOffset().AtStart()
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(given.Bootstrap),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{step.Topic: assigned}),
	)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	lines := []record{}
	for len(lines) < step.Count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, err
		}
		fetches.EachRecord(func(read *kgo.Record) {
			headers := []header{}
			for _, pair := range read.Headers {
				headers = append(headers, header{pair.Key, pair.Value})
			}
			lines = append(lines, record{
				Key: read.Key, Value: read.Value, Headers: headers, Timestamp: read.Timestamp.UnixMilli(),
				Partition: &read.Partition, Offset: read.Offset,
			})
		})
	}
	return lines, nil
}

func ends(ctx context.Context, admin *kadm.Client, step step) (any, error) {
	first, err := admin.ListStartOffsets(ctx, step.Topic)
	end, also := admin.ListEndOffsets(ctx, step.Topic)
	if err := errors.Join(err, also, first.Error(), end.Error()); err != nil {
		return nil, err
	}
	ends := [][2]int64{}
	for number := range step.Partitions {
		from, _ := first.Lookup(step.Topic, number)
		to, _ := end.Lookup(step.Topic, number)
		ends = append(ends, [2]int64{from.Offset, to.Offset})
	}
	return ends, nil
}
