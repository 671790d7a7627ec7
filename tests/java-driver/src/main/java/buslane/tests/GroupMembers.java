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
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Members of consumer groups that read on by themselves, each in a thread. They commit when they are told to. */
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

    String stop(JsonNode request) throws Exception {
        Member member = running.remove(request.get("name").asText());
        member.stopping = true;
        member.join(20_000);
        return member.isAlive() ? "still running" : "stopped";
    }

    private static final class Member extends Thread implements ConsumerRebalanceListener {
        final ConcurrentLinkedQueue<CompletableFuture<String>> commits = new ConcurrentLinkedQueue<>();
        volatile boolean stopping;
        private final JsonNode request;
        private final List<Object[]> records = new ArrayList<>();
        private final TreeSet<Integer> assignment = new TreeSet<>();
        private final List<List<Integer>> revoked = new ArrayList<>();
        private int rebalances;
        private String failure;

        Member(JsonNode request) {
            super("member-" + request.get("name").asText());
            setDaemon(true);
            this.request = request;
        }

        @Override
        public void run() {
            Properties properties = Rows.properties(request);
            try (KafkaConsumer<byte[], byte[]> consumer =
                    new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
                consumer.subscribe(List.of(request.get("topic").asText()), this);
                while (!stopping) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(50))) {
                        synchronized (this) {
                            records.add(new Object[] {record.partition(), record.offset(), record.value()});
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
        }

        @Override
        public synchronized void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            if (!partitions.isEmpty()) {
                revoked.add(indexes(partitions));
                assignment.removeAll(indexes(partitions));
            }
        }

        synchronized ObjectNode status(int seen) {
            ObjectNode status = Driver.JSON.createObjectNode();
            ArrayNode rows = status.putArray("records");
            for (Object[] record : records.subList(seen, records.size())) {
                rows.addArray().add((int) record[0]).add((long) record[1]).add((byte[]) record[2]);
            }
            status.set("assignment", Driver.JSON.valueToTree(assignment));
            status.set("revoked", Driver.JSON.valueToTree(revoked));
            status.put("rebalances", rebalances).put("failure", failure);
            return status;
        }
    }
}
