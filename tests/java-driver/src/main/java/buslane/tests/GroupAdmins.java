package buslane.tests;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.DescribeConsumerGroupsOptions;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.MemberAssignment;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;

/** One admin operation on consumer groups a request, named by "operation". */
final class GroupAdmins {
    private static final long WAIT_S = 20;

    static Object run(JsonNode request) throws Exception {
        try (Admin admin = Admin.create(Rows.properties(request))) {
            String group = request.path("group").asText();
            String topic = request.path("topic").asText();
            switch (request.get("operation").asText()) {
                case "list" -> {
                    ListGroupsOptions options = new ListGroupsOptions();
                    if (request.has("states")) {
                        Set<GroupState> states = new java.util.HashSet<>();
                        request.get("states").forEach(state -> states.add(GroupState.parse(state.asText())));
                        options.inGroupStates(states);
                    }
                    if (request.has("types")) {
                        Set<GroupType> types = new java.util.HashSet<>();
                        request.get("types").forEach(type -> types.add(GroupType.parse(type.asText())));
                        options.withTypes(types);
                    }
                    Map<String, Object> found = new TreeMap<>();
                    admin.listGroups(options).all().get(WAIT_S, TimeUnit.SECONDS).forEach(one -> found.put(one.groupId(), Map.of(
                            "state", one.groupState().map(Object::toString).orElse(""),
                            "type", one.type().map(Object::toString).orElse(""),
                            "protocol", one.protocol())));
                    return found;
                }
                case "describe" -> {
                    DescribeConsumerGroupsOptions options = new DescribeConsumerGroupsOptions().includeAuthorizedOperations(true);
                    ConsumerGroupDescription found =
                            admin.describeConsumerGroups(List.of(group), options).describedGroups().get(group).get(WAIT_S, TimeUnit.SECONDS);
                    return Map.of(
                            "state", found.groupState().toString(),
                            "type", found.type().toString(),
                            "assignor", found.partitionAssignor(),
                            "coordinator", found.coordinator().host() + ":" + found.coordinator().port(),
                            "epoch", found.groupEpoch().orElse(-1),
                            "target_epoch", found.targetAssignmentEpoch().orElse(-1),
                            "operations", found.authorizedOperations().stream().map(Object::toString).sorted().collect(Collectors.toList()),
                            "members", found.members().stream().map(member -> Map.of(
                                    "client_id", member.clientId(),
                                    "host", member.host(),
                                    "instance_id", member.groupInstanceId().orElse(""),
                                    "epoch", member.memberEpoch().orElse(-1),
                                    "upgraded", member.upgraded().map(Object::toString).orElse(""),
                                    "target", member.targetAssignment().map(GroupAdmins::indexes).orElse(List.of()),
                                    "partitions", indexes(member.assignment())))
                                    .collect(Collectors.toList()));
                }
                case "delete" -> {
                    admin.deleteConsumerGroups(List.of(group)).all().get(WAIT_S, TimeUnit.SECONDS);
                    return "deleted";
                }
                case "delete-offsets" -> {
                    Set<TopicPartition> partitions = new java.util.HashSet<>();
                    request.get("partitions").forEach(index -> partitions.add(new TopicPartition(topic, index.asInt())));
                    admin.deleteConsumerGroupOffsets(group, partitions).all().get(WAIT_S, TimeUnit.SECONDS);
                    return "deleted";
                }
                case "list-offsets" -> {
                    Map<String, Object> found = new TreeMap<>();
                    admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get(WAIT_S, TimeUnit.SECONDS).forEach((partition, one) ->
                            found.put(partition.toString(), one == null ? List.of() : List.of(one.offset(), one.metadata(), one.leaderEpoch().orElse(-1))));
                    return found;
                }
                case "alter-offsets" -> {
                    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                    request.get("offsets").properties().forEach(one -> offsets.put(
                            new TopicPartition(topic, Integer.parseInt(one.getKey())),
                            new OffsetAndMetadata(one.getValue().asLong(), request.path("metadata").asText(""))));
                    admin.alterConsumerGroupOffsets(group, offsets).all().get(WAIT_S, TimeUnit.SECONDS);
                    return "altered";
                }
                case "remove-member" -> {
                    var options = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove(request.get("instance").asText())));
                    admin.removeMembersFromConsumerGroup(group, options).all().get(WAIT_S, TimeUnit.SECONDS);
                    return "removed";
                }
                default -> throw new IllegalArgumentException("no such operation on groups: " + request.get("operation"));
            }
        }
    }

    private static List<Integer> indexes(MemberAssignment assignment) {
        return assignment.topicPartitions().stream().map(TopicPartition::partition).sorted().collect(Collectors.toList());
    }

    private GroupAdmins() {}
}
