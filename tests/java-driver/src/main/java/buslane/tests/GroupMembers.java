package buslane.tests;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Members of consumer groups that read on by themselves, each in a thread. They commit when they are told to, and where
 * "commit_on_revoke" says so before they give partitions up. "pattern" makes the topic a pattern that the broker resolves.
 */
final class GroupMembers {
    private final Map<String, Member> running = new ConcurrentHashMap<>();

    String start(JsonNode request) {
        Member member = new Member(request);
        running.put(request.get("name").asText(), member);
        member.start();
        return "started";
    }

    /** What happened since the asker had seen `seen` records. */
    ObjectNode status(JsonNode request) {
        return running.get(request.get("name").asText()).status(request.path("seen").asInt());
    }

    String commit(JsonNode request) throws Exception {
        Member member = running.get(request.get("name").asText());
        CompletableFuture<String> done = new CompletableFuture<>();
        member.commits.add(done);
        return done.get(20, TimeUnit.SECONDS);
    }

    /** As status, once the member has ended. */
    ObjectNode stop(JsonNode request) throws Exception {
        Member member = running.remove(request.get("name").asText());
        member.stopping = true;
        member.join(20_000);
        return member.status(request.path("seen").asInt()).put("stopped", !member.isAlive());
    }

    private static final class Member extends Thread implements ConsumerRebalanceListener {
        final ConcurrentLinkedQueue<CompletableFuture<String>> commits = new ConcurrentLinkedQueue<>();
        volatile boolean stopping;
        private final JsonNode request;
        private final List<Object[]> records = new ArrayList<>();
        private final TreeSet<Integer> assignment = new TreeSet<>();
        private final List<List<Integer>> revoked = new ArrayList<>();
        private final List<Span> spans = new ArrayList<>();
        private int rebalances;
        private String failure;
        private KafkaConsumer<byte[], byte[]> consumer;

        /** How long a partition was this member's, in wall-clock milliseconds; -1 as long as it is. */
        private static final class Span {
            final TopicPartition partition;
            final long from = System.currentTimeMillis();
            long until = -1;

            Span(TopicPartition partition) {
                this.partition = partition;
            }
        }

        Member(JsonNode request) {
            super("member-" + request.get("name").asText());
            setDaemon(true);
            this.request = request;
        }

        @Override
        public void run() {
            Properties properties = Rows.properties(request);
            try (KafkaConsumer<byte[], byte[]> opened =
                    new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer = opened;
                String topic = request.get("topic").asText();
                if (request.path("pattern").asBoolean()) {
                    consumer.subscribe(new SubscriptionPattern(topic), this);
                } else {
                    consumer.subscribe(List.of(topic), this);
                }
                while (!stopping) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(50))) {
                        synchronized (this) {
                            long now = System.currentTimeMillis();
                            records.add(new Object[] {record.partition(), record.offset(), record.value(), record.topic(), now});
                        }
                    }
                    for (var done = commits.poll(); done != null; done = commits.poll()) {
                        try {
                            consumer.commitSync();
                            done.complete("committed");
                        } catch (RuntimeException refused) {
                            done.completeExceptionally(refused);
                        }
                    }
                }
            } catch (Throwable thrown) {
                synchronized (this) {
                    failure = thrown.getClass().getSimpleName() + ": " + thrown.getMessage();
                }
                commits.forEach(done -> done.completeExceptionally(thrown));
            }
        }

        private static List<Integer> indexes(Collection<TopicPartition> partitions) {
            return partitions.stream().map(TopicPartition::partition).sorted().toList();
        }

        @Override
        public synchronized void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            rebalances++;
            assignment.addAll(indexes(partitions));
            partitions.forEach(partition -> spans.add(new Span(partition)));
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            if (request.path("commit_on_revoke").asBoolean()) {
                consumer.commitSync();
            }
            onPartitionsLost(partitions);
        }

        @Override
        public synchronized void onPartitionsLost(Collection<TopicPartition> partitions) {
            if (!partitions.isEmpty()) {
                revoked.add(indexes(partitions));
                assignment.removeAll(indexes(partitions));
                for (Span span : spans) {
                    if (span.until < 0 && partitions.contains(span.partition)) {
                        span.until = System.currentTimeMillis();
                    }
                }
            }
        }

        synchronized ObjectNode status(int seen) {
            ObjectNode status = Driver.JSON.createObjectNode();
            ArrayNode rows = status.putArray("records");
            for (Object[] record : records.subList(seen, records.size())) {
                rows.addArray().add((int) record[0]).add((long) record[1]).add((byte[]) record[2]).add((String) record[3]).add((long) record[4]);
            }
            ArrayNode held = status.putArray("spans");
            for (Span span : spans) {
                held.addArray().add(span.partition.topic()).add(span.partition.partition()).add(span.from).add(span.until);
            }
            status.set("assignment", Driver.JSON.valueToTree(assignment));
            status.set("revoked", Driver.JSON.valueToTree(revoked));
            status.put("rebalances", rebalances).put("failure", failure);
            return status;
        }
    }
}
