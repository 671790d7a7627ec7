package buslane.tests;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** One admin operation a request, named by "operation". */
final class Admins {
    private static final long WAIT_S = 20;

    static Object run(JsonNode request) throws Exception {
        try (Admin admin = Admin.create(Rows.properties(request))) {
            String topic = request.path("topic").asText();
            TopicPartition partition = new TopicPartition(topic, request.path("partition").asInt());
            switch (request.get("operation").asText()) {
                case "create-topic" -> {
                    Map<String, String> config = new HashMap<>();
                    request.path("topic_config").properties().forEach(entry -> config.put(entry.getKey(), entry.getValue().asText()));
                    var created = admin.createTopics(List.of(new NewTopic(topic, request.get("partitions").asInt(), (short) 1).configs(config)));
                    created.all().get(WAIT_S, TimeUnit.SECONDS);
                    return Map.of("topic_id", created.topicId(topic).get().toString(), "partitions", created.numPartitions(topic).get());
                }
                case "delete-topic" -> {
                    admin.deleteTopics(List.of(topic)).all().get(WAIT_S, TimeUnit.SECONDS);
                    return "deleted";
                }
                case "list-topics" -> {
                    return admin.listTopics().names().get(WAIT_S, TimeUnit.SECONDS);
                }
                case "describe-topic" -> {
                    TopicDescription found = admin.describeTopics(List.of(topic)).allTopicNames().get(WAIT_S, TimeUnit.SECONDS).get(topic);
                    return Map.of(
                            "topic_id", found.topicId().toString(),
                            "leaders", found.partitions().stream().map(p -> p.leader().id()).collect(Collectors.toList()),
                            "replicas", found.partitions().stream().map(p -> p.replicas().size()).collect(Collectors.toList()),
                            "isr", found.partitions().stream().map(p -> p.isr().size()).collect(Collectors.toList()));
                }
                case "create-partitions" -> {
                    admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(request.get("partitions").asInt()))).all().get(WAIT_S, TimeUnit.SECONDS);
                    return "created";
                }
                case "describe-configs" -> {
                    ConfigResource resource = new ConfigResource(
                            ConfigResource.Type.valueOf(request.get("resource").asText()), request.get("name").asText());
                    Config config = admin.describeConfigs(List.of(resource)).all().get(WAIT_S, TimeUnit.SECONDS).get(resource);
                    Map<String, Object> rows = new TreeMap<>();
                    config.entries().forEach(entry -> {
                        Map<String, Object> row = new HashMap<>();
                        row.put("value", entry.value());
                        row.put("source", entry.source().toString());
                        row.put("read_only", entry.isReadOnly());
                        row.put("type", entry.type().toString());
                        rows.put(entry.name(), row);
                    });
                    return rows;
                }
                case "describe-cluster" -> {
                    DescribeClusterResult cluster = admin.describeCluster();
                    return Map.of(
                            "cluster_id", cluster.clusterId().get(WAIT_S, TimeUnit.SECONDS),
                            "controller", cluster.controller().get().id(),
                            "nodes", cluster.nodes().get().stream().map(n -> n.host() + ":" + n.port()).collect(Collectors.toList()),
                            "node_ids", cluster.nodes().get().stream().map(n -> n.id()).collect(Collectors.toList()));
                }
                case "delete-records" -> {
                    return admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(request.get("before").asLong())))
                            .lowWatermarks().get(partition).get(WAIT_S, TimeUnit.SECONDS).lowWatermark();
                }
                case "list-offsets" -> {
                    OffsetSpec spec = switch (request.get("spec").asText()) {
                        case "earliest" -> OffsetSpec.earliest();
                        case "latest" -> OffsetSpec.latest();
                        case "max-timestamp" -> OffsetSpec.maxTimestamp();
                        default -> OffsetSpec.forTimestamp(request.get("spec").asLong());
                    };
                    ListOffsetsResultInfo found = admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get(WAIT_S, TimeUnit.SECONDS);
                    return Map.of("offset", found.offset(), "timestamp", found.timestamp(), "leader_epoch", found.leaderEpoch().orElse(-1));
                }
                default -> throw new IllegalArgumentException("no such admin operation: " + request.get("operation"));
            }
        }
    }

    private Admins() {}
}
