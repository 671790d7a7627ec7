package buslane.tests;

import com.fasterxml.jackson.databind.JsonNode;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Producers that go on by themselves while the test does something to the broker. */
final class Streams {
    private final Map<String, Stream> running = new HashMap<>();

    String start(JsonNode request) {
        Stream stream = new Stream(request);
        running.put(request.get("name").asText(), stream);
        stream.start();
        return "started";
    }

    /** How many sends are acknowledged so far. */
    Object progress(JsonNode request) {
        Stream stream = running.get(request.get("name").asText());
        synchronized (stream.acknowledged) {
            return stream.acknowledged.values().stream().mapToInt(List::size).sum();
        }
    }

    /** Ends the sending, waits for what is under way, and answers {"acknowledged": {partition: [[n, offset], ...]}, "failures": [...]}. */
    Object stop(JsonNode request) throws Exception {
        Stream stream = running.remove(request.get("name").asText());
        stream.stopping = true;
        stream.join();
        synchronized (stream.acknowledged) {
            return Map.of("acknowledged", stream.acknowledged, "failures", stream.failures, "sent", stream.sent);
        }
    }

    private static final class Stream extends Thread {
        final Map<Integer, List<long[]>> acknowledged = new HashMap<>();
        final List<String> failures = new ArrayList<>();
        volatile boolean stopping;
        volatile long sent;
        private final JsonNode request;

        Stream(JsonNode request) {
            super("stream-" + request.get("name").asText());
            setDaemon(true);
            this.request = request;
        }

        @Override
        public void run() {
            Properties properties = Rows.properties(request);
            properties.putIfAbsent("enable.idempotence", "true");
            properties.putIfAbsent("linger.ms", "2");
            properties.putIfAbsent("delivery.timeout.ms", "60000");
            properties.putIfAbsent("reconnect.backoff.max.ms", "100");
            properties.putIfAbsent("retry.backoff.max.ms", "100");
            String topic = request.get("topic").asText();
            String name = request.get("name").asText();
            int partitions = request.get("partitions").asInt();
            long pauseNanos = request.path("pause_us").asLong(500) * 1000;
            try (KafkaProducer<byte[], byte[]> producer = Producers.open(properties)) {
                for (long n = 0; !stopping; n++) {
                    long number = n;
                    int partition = (int) (n % partitions);
                    byte[] value = (name + ":" + n).getBytes(StandardCharsets.UTF_8);
                    producer.send(new ProducerRecord<>(topic, partition, null, value), (metadata, failure) -> {
                        synchronized (acknowledged) {
                            if (failure == null) {
                                acknowledged.computeIfAbsent(partition, p -> new ArrayList<>()).add(new long[] {number, metadata.offset()});
                            } else if (failures.size() < 20) {
                                failures.add(number + ": " + failure);
                            }
                        }
                    });
                    sent = n + 1;
                    java.util.concurrent.locks.LockSupport.parkNanos(pauseNanos);
                }
                producer.flush();
            } catch (Throwable failure) {
                synchronized (acknowledged) {
                    failures.add("producer: " + failure);
                }
            }
        }
    }
}
