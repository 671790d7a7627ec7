package buslane.tests;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Consumers of assigned partitions, without a group. */
final class Consumers {
    private final Map<String, KafkaConsumer<byte[], byte[]>> tails = new HashMap<>();

    private static KafkaConsumer<byte[], byte[]> open(Properties properties) {
        properties.putIfAbsent("enable.auto.commit", "false");
        properties.putIfAbsent("auto.offset.reset", "none");
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static TopicPartition partition(JsonNode request) {
        return new TopicPartition(request.get("topic").asText(), request.get("partition").asInt());
    }

    private static void seek(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, JsonNode start) {
        consumer.assign(List.of(partition));
        if (start.isTextual() && start.asText().equals("earliest")) {
            consumer.seekToBeginning(List.of(partition));
        } else if (start.isTextual() && start.asText().equals("latest")) {
            consumer.seekToEnd(List.of(partition));
        } else {
            consumer.seek(partition, start.asLong());
        }
    }

    /** Reads `count` records from `start` (an offset, "earliest" or "latest"), or as many as come before the deadline. */
    static ArrayNode consume(JsonNode request) {
        ArrayNode rows = Driver.JSON.createArrayNode();
        try (KafkaConsumer<byte[], byte[]> consumer = open(Rows.properties(request))) {
            seek(consumer, partition(request), request.get("start"));
            long end = System.nanoTime() + request.get("deadline_ms").asLong() * 1_000_000;
            while (rows.size() < request.get("count").asInt() && System.nanoTime() < end) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    rows.add(Rows.row(record));
                }
            }
        }
        return rows;
    }

    /** Reads until the position is the end offset, as whoever restores a state from a topic does: {"end": ..., "position": ..., "rows": ...}. */
    static Object readToEnd(JsonNode request) {
        ArrayNode rows = Driver.JSON.createArrayNode();
        try (KafkaConsumer<byte[], byte[]> consumer = open(Rows.properties(request))) {
            TopicPartition partition = partition(request);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            long deadline = System.nanoTime() + request.get("deadline_ms").asLong() * 1_000_000;
            while (consumer.position(partition) < end && System.nanoTime() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    rows.add(Rows.row(record));
                }
            }
            return Map.of("end", end, "position", consumer.position(partition), "rows", rows);
        }
    }

    /** {timestamp: null or {"offset": ..., "timestamp": ..., "leader_epoch": ...}} for each of the asked timestamps. */
    static Object offsetsForTimes(JsonNode request) {
        Map<String, Object> found = new HashMap<>();
        try (KafkaConsumer<byte[], byte[]> consumer = open(Rows.properties(request))) {
            for (JsonNode timestamp : request.get("timestamps")) {
                OffsetAndTimestamp one = consumer.offsetsForTimes(Map.of(partition(request), timestamp.asLong())).get(partition(request));
                found.put(timestamp.asText(), one == null ? null : Map.of(
                        "offset", one.offset(), "timestamp", one.timestamp(), "leader_epoch", one.leaderEpoch().orElse(-1)));
            }
        }
        return found;
    }

    /** A consumer that stays open between requests. */
    String open(JsonNode request) {
        KafkaConsumer<byte[], byte[]> consumer = open(Rows.properties(request));
        seek(consumer, partition(request), request.get("start"));
        tails.put(request.get("name").asText(), consumer);
        return "opened";
    }

    ArrayNode poll(JsonNode request) {
        ArrayNode rows = Driver.JSON.createArrayNode();
        long end = System.nanoTime() + request.get("deadline_ms").asLong() * 1_000_000;
        KafkaConsumer<byte[], byte[]> consumer = tails.get(request.get("name").asText());
        while (rows.size() < request.get("count").asInt() && System.nanoTime() < end) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                rows.add(Rows.row(record));
            }
        }
        return rows;
    }

    String close(JsonNode request) {
        tails.remove(request.get("name").asText()).close();
        return "closed";
    }
}
