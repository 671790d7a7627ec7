// Serves produce requests as JSON lines: {"verb": "produce", ...} in, {"ok": offsets} or {"error", "message"} out.
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

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { ok: await produce(JSON.parse(line)) };
  } catch (failure) {
    answer = { error: failure.name, message: `${failure.message} ${failure.type ?? ""}` };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
