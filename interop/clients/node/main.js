// kafkajs, with a codec of its own for gzip alone; the others are plugged in as its documentation says. See README.md beside
// this folder.
'use strict'

const { CompressionCodecs, CompressionTypes, Kafka, Partitioners, logLevel } = require('kafkajs')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { ZstdCodec } = require('zstd-codec')

const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

async function plugInCodecs() {
  CompressionCodecs[CompressionTypes.Snappy] = snappy
  CompressionCodecs[CompressionTypes.LZ4] = () => ({
    compress: async (encoder) => lz4.compressFrame(encoder.buffer),
    decompress: async (buffer) => lz4.decompressFrame(buffer),
  })
  const zstd = await new Promise((resolve) => ZstdCodec.run(resolve))
  const streaming = new zstd.Streaming()
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async (encoder) => Buffer.from(streaming.compress(encoder.buffer)),
    decompress: async (buffer) => Buffer.from(streaming.decompress(buffer)),
  })
}

const encode = (bytes) => (bytes === null || bytes === undefined ? null : Buffer.from(bytes).toString('base64'))
const decode = (text) => (text === null ? null : Buffer.from(text, 'base64'))

class Client {
  constructor(plan) {
    this.records = plan.records
    this.kafka = new Kafka({ brokers: [plan.bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 2 } })
  }

  async create({ topic, partitions }) {
    return this.withAdmin((admin) => admin.createTopics({ topics: [{ topic, numPartitions: partitions }] }))
  }

  async produce({ topic, codec, idempotent }) {
    const producer = this.kafka.producer({ idempotent, createPartitioner: Partitioners.DefaultPartitioner })
    const places = []
    const messages = []
    for (const record of this.records) {
      const headers = {}
      let why = null
      for (const [name, value] of record.headers) {
        if (value === null) why = 'a header needs a value'
        else if (name in headers) headers[name].push(decode(value))
        else headers[name] = [decode(value)]
      }
      places.push(why === null ? null : { left_out: why })
      if (why !== null) continue
      const { partition, timestamp } = record
      const message = { key: decode(record.key), value: decode(record.value), headers, timestamp: String(timestamp) }
      messages.push(partition === null ? message : { ...message, partition })
    }
    await producer.connect()
    try {
      await producer.send({ topic, acks: -1, compression: CODECS[codec], messages })
    } finally {
      await producer.disconnect()
    }
    return places
  }

  // there is no manual assignment: a consumer always joins a group
  async read({ topic, count }) {
    const consumer = this.kafka.consumer({ groupId: `${topic}-readers`, retry: { retries: 1 } })
    const lines = []
    try {
      await consumer.connect()
      await consumer.subscribe({ topics: [topic], fromBeginning: true })
      await new Promise((resolve, reject) => {
        consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error))
        const eachMessage = async ({ partition, message }) => {
          const headers = Object.entries(message.headers ?? {}).flatMap(([name, values]) =>
            [values].flat().map((value) => [name, encode(value)])
          )
          const { offset, timestamp, key, value } = message
          lines.push({ partition, offset: Number(offset), timestamp: Number(timestamp), key: encode(key), value: encode(value), headers })
          if (lines.length >= count) resolve()
        }
        consumer.run({ autoCommit: false, eachMessage }).catch(reject)
        setTimeout(() => reject(new Error(`only ${lines.length} of ${count} records in time`)), 20000).unref()
      })
    } finally {
      await consumer.disconnect()
    }
    return lines
  }

  async metadata({ topic }) {
    const { topics } = await this.withAdmin((admin) => admin.fetchTopicMetadata({ topics: [topic] }))
    return topics[0].partitions.length
  }

  async ends({ topic }) {
    const partitions = await this.withAdmin((admin) => admin.fetchTopicOffsets(topic))
    partitions.sort((one, other) => one.partition - other.partition)
    return partitions.map(({ low, high }) => [Number(low), Number(high)])
  }

  async time({ topic, partition, timestamp }) {
    const found = await this.withAdmin((admin) => admin.fetchTopicOffsetsByTimestamp(topic, timestamp))
    return Number(found.find((entry) => entry.partition === partition).offset)
  }

  async config({ topic, key }) {
    const resources = [{ type: 2, name: topic, configNames: [key] }]
    const described = await this.withAdmin((admin) => admin.describeConfigs({ resources }))
    return described.resources[0].configEntries[0].configValue
  }

  async cluster() {
    const { clusterId, brokers } = await this.withAdmin((admin) => admin.describeCluster())
    return { id: clusterId, brokers: brokers.length }
  }

  async delete({ topic }) {
    await this.withAdmin((admin) => admin.deleteTopics({ topics: [topic] }))
    return true
  }

  async withAdmin(call) {
    const admin = this.kafka.admin()
    await admin.connect()
    try {
      return await call(admin)
    } finally {
      await admin.disconnect()
    }
  }
}

async function main() {
  const chunks = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  const plan = JSON.parse(Buffer.concat(chunks).toString())
  await plugInCodecs()
  const client = new Client(plan)
  const results = []
  for (const step of plan.steps) {
    try {
      results.push({ ok: await client[step.do](step) })
    } catch (error) {
      results.push({ error: `${error.name}: ${error.message}` })
    }
  }
  const { version } = require('kafkajs/package.json')
  process.stdout.write(JSON.stringify({ client: 'kafkajs', version, results }) + '\n', () => process.exit(0))
}

main()
