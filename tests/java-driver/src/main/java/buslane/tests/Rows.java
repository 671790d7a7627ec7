package buslane.tests;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** Records and settings between JSON and the clients' types. Bytes are base64, null is null. */
final class Rows {
    static byte[] bytes(JsonNode node) {
        return node == null || node.isNull() ? null : Base64.getDecoder().decode(node.asText());
    }

    static ProducerRecord<byte[], byte[]> record(String topic, Integer partition, JsonNode row) {
        List<Header> headers = new ArrayList<>();
        for (JsonNode header : row.get("headers")) {
            headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
        }
        JsonNode timestamp = row.get("timestamp");
        return new ProducerRecord<>(
                topic, partition, timestamp.isNull() ? null : timestamp.asLong(), bytes(row.get("key")), bytes(row.get("value")), headers);
    }

    static ObjectNode row(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode row = Driver.JSON.createObjectNode();
        row.put("key", record.key()).put("value", record.value());
        row.put("timestamp", record.timestamp()).put("offset", record.offset());
        row.put("timestamp_type", record.timestampType().toString());
        row.put("leader_epoch", record.leaderEpoch().orElse(-1));
        ArrayNode headers = row.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(header.value());
        }
        return row;
    }

    /** The request's "config" object over what every client here needs. */
    static Properties properties(JsonNode request) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", request.get("bootstrap").asText());
        properties.put("request.timeout.ms", "5000");
        properties.put("default.api.timeout.ms", "20000");
        request.path("config").properties().forEach(entry -> properties.put(entry.getKey(), entry.getValue().asText()));
        return properties;
    }

    private Rows() {}
}
