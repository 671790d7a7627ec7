package buslane.tests;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.ByteArraySerializer;

final class Producers {
    static KafkaProducer<byte[], byte[]> open(Properties properties) {
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    /** Sends all records, the next without waiting for the last; answers with their offsets. */
    static List<Long> produce(JsonNode request) throws Exception {
        Properties properties = Rows.properties(request);
        properties.putIfAbsent("linger.ms", "5");
        properties.putIfAbsent("delivery.timeout.ms", "20000");
        String topic = request.get("topic").asText();
        int partition = request.get("partition").asInt();
        try (KafkaProducer<byte[], byte[]> producer = open(properties)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode row : request.get("records")) {
                sent.add(producer.send(Rows.record(topic, partition, row)));
            }
            producer.flush();
            List<Long> offsets = new ArrayList<>();
            for (Future<RecordMetadata> one : sent) {
                offsets.add(one.get().offset());
            }
            return offsets;
        }
    }

    /** Initialises and commits one transaction; the request's config carries the transactional.id. */
    static String transaction(JsonNode request) throws Exception {
        Properties properties = Rows.properties(request);
        properties.put("max.block.ms", "15000");
        try (KafkaProducer<byte[], byte[]> producer = open(properties)) {
            producer.initTransactions();
            producer.beginTransaction();
            for (JsonNode row : request.get("records")) {
                producer.send(Rows.record(request.get("topic").asText(), 0, row));
            }
            producer.commitTransaction();
            return "committed";
        }
    }

    private Producers() {}
}
