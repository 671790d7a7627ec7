// Serves requests as JSON lines: {"verb": "produce", ...} in, {"ok": offsets} or {"error", "message"} out. The member verbs
// drive members of consumer groups, which read on by themselves and commit each batch before they tell of it.
// Run by tests/harness/clients/kafkajs.py; NODE_MODULES names the folder with the installed packages.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.NODE_MODULES}/`);
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require("kafkajs");
const zstd = require("@bokuweb/zstd-wasm");
const lz4 = require("lz4-napi");

await zstd.init();
CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => lz4.compressFrame(encoder.buffer),
  decompress: async (buffer) => lz4.decompressFrame(buffer),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
});

const COMPRESSION = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};
const RECORDS_A_BATCH = 20;

const bytes = (text) => (text === null ? null : Buffer.from(text, "base64"));

function message(row, partition) {
  const headers = {};
  // kafkajs takes a repeated header as a list of values.
  for (const [name, value] of row.headers) {
    headers[name] = name in headers ? [headers[name], bytes(value)].flat() : bytes(value);
  }
  return { partition, key: bytes(row.key), value: bytes(row.value), headers, timestamp: row.timestamp === null ? undefined : String(row.timestamp) };
}

async function produce({ bootstrap, topic, partition, records, codec, idempotent }) {
  const kafka = new Kafka({
    clientId: "kafkajs",
    brokers: [bootstrap],
    logLevel: logLevel.NOTHING,
    requestTimeout: 10000,
    retry: { retries: 3 },
  });
  const producer = kafka.producer({ idempotent, maxInFlightRequests: idempotent ? 1 : undefined, allowAutoTopicCreation: true });
  await producer.connect();
  try {
    const offsets = [];
    for (let from = 0; from < records.length; from += RECORDS_A_BATCH) {
      const messages = records.slice(from, from + RECORDS_A_BATCH).map((row) => message(row, partition));
      const [answer] = await producer.send({ topic, acks: -1, compression: COMPRESSION[codec], messages });
      messages.forEach((_, i) => offsets.push(Number(answer.baseOffset) + i));
    }
    return offsets;
  } finally {
    await producer.disconnect();
  }
}

const members = new Map();

async function startMember({ bootstrap, name, group, topic, reset, session_ms }) {
  const kafka = new Kafka({ clientId: "kafkajs", brokers: [bootstrap], logLevel: logLevel.NOTHING, requestTimeout: 10000 });
  const consumer = kafka.consumer({
    groupId: group,
    sessionTimeout: session_ms,
    rebalanceTimeout: 20000,
    heartbeatInterval: 300,
    maxWaitTimeInMs: 100,
    metadataMaxAge: 1000,
  });
  const member = { consumer, records: [], assignment: [], rebalances: 0, failure: null };
  members.set(name, member);
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.assignment = payload.memberAssignment[topic] ?? [];
    member.rebalances += 1;
  });
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    if (!payload.restart) member.failure = `${payload.error.name}: ${payload.error.message}`;
  });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: reset === "earliest" });
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      await consumer.commitOffsets([{ topic, partition: batch.partition, offset: String(Number(batch.lastOffset()) + 1) }]);
      for (const message of batch.messages) {
        member.records.push([batch.partition, Number(message.offset), message.value.toString("base64")]);
      }
    },
  });
  return "started";
}

function memberStatus({ name, seen }) {
  const { records, assignment, rebalances, failure } = members.get(name);
  return { records: records.slice(seen), assignment, rebalances, failure, revoked: [] };
}

async function stopMember({ name, seen }) {
  await members.get(name).consumer.disconnect();
  const status = memberStatus({ name, seen });
  members.delete(name);
  return { ...status, stopped: true };
}

const VERBS = { produce, "member-start": startMember, "member-status": memberStatus, "member-stop": stopMember };

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    const request = JSON.parse(line);
    answer = { ok: await VERBS[request.verb](request) };
  } catch (failure) {
    answer = { error: failure.name, message: `${failure.message} ${failure.type ?? ""}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
