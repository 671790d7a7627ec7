// Prints records of __consumer_offsets as Kafka's own generated classes write them: name, key, value in hexadecimal.
//
//   mvn -q dependency:copy-dependencies -DoutputDirectory=lib   (with kafka-group-coordinator 4.4.0 as the dependency)
//   java -cp 'lib/*' PrintRecords.java > records.hex
import java.nio.ByteBuffer;
import java.util.HexFormat;
import java.util.List;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.coordinator.group.generated.*;

public class PrintRecords {
    static final Uuid ID = new Uuid(0x0102030405060708L, 0x090a0b0c0d0e0f10L);

    static String hex(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return HexFormat.of().formatHex(bytes);
    }

    static void print(String name, ApiMessage key, int version, ApiMessage value) {
        System.out.println(name + " " + hex(MessageUtil.toCoordinatorTypePrefixedByteBuffer(key)) + " "
            + (value == null ? "-" : hex(MessageUtil.toVersionPrefixedByteBuffer((short) version, value))));
    }

    static OffsetCommitValue offset(boolean id) {
        OffsetCommitValue value = new OffsetCommitValue()
            .setOffset(42).setLeaderEpoch(3).setMetadata("mäta").setCommitTimestamp(1_700_000_000_123L)
            .setExpireTimestamp(1_700_000_600_123L);
        return id ? value.setTopicId(ID) : value;
    }

    static GroupMetadataValue group() {
        return new GroupMetadataValue()
            .setProtocolType("consumer").setGeneration(5).setProtocol("range").setLeader("c-1")
            .setCurrentStateTimestamp(1_700_000_000_123L)
            .setMembers(List.of(
                new GroupMetadataValue.MemberMetadata()
                    .setMemberId("c-1").setGroupInstanceId("one").setClientId("c").setClientHost("/127.0.0.1")
                    .setRebalanceTimeout(300_000).setSessionTimeout(45_000)
                    .setSubscription(new byte[] {1, 2, 3}).setAssignment(new byte[] {4, 5}),
                new GroupMetadataValue.MemberMetadata()
                    .setMemberId("d-2").setClientId("d").setClientHost("/::1")
                    .setRebalanceTimeout(60_000).setSessionTimeout(10_000)
                    .setSubscription(new byte[] {}).setAssignment(new byte[] {})));
    }

    static ConsumerGroupMemberMetadataValue member() {
        return new ConsumerGroupMemberMetadataValue()
            .setInstanceId("one").setRackId(null).setClientId("c").setClientHost("/127.0.0.1")
            .setSubscribedTopicNames(List.of("a", "b")).setSubscribedTopicRegex("x.*")
            .setRebalanceTimeoutMs(300_000).setServerAssignor("uniform");
    }

    public static void main(String[] args) {
        var offsetKey = new OffsetCommitKey().setGroup("g").setTopic("orders").setPartition(7);
        print("offset-tombstone", offsetKey, 0, null);
        for (int version = 0; version <= 4; version++) {
            print("offset-v" + version, offsetKey, version, offset(false));
        }
        print("offset-v4-id", offsetKey, 4, offset(true));
        print("legacy-offset", new LegacyOffsetCommitKey().setGroup("g").setTopic("orders").setPartition(7), 0,
            new LegacyOffsetCommitValue().setOffset(42).setMetadata("m").setCommitTimestamp(1_700_000_000_123L));
        var groupKey = new GroupMetadataKey().setGroup("g");
        for (int version = 0; version <= 4; version++) {
            print("group-v" + version, groupKey, version, group());
        }
        print("group-empty", groupKey, 3, new GroupMetadataValue()
            .setProtocolType("").setGeneration(0).setProtocol(null).setLeader(null)
            .setCurrentStateTimestamp(1_700_000_000_123L).setMembers(List.of()));
        var metadataKey = new ConsumerGroupMetadataKey().setGroupId("g");
        print("consumer-group", metadataKey, 0, new ConsumerGroupMetadataValue().setEpoch(9));
        print("consumer-group-hash", metadataKey, 0,
            new ConsumerGroupMetadataValue().setEpoch(9).setMetadataHash(-2L));
        print("consumer-partitions", new ConsumerGroupPartitionMetadataKey().setGroupId("g"), 0,
            new ConsumerGroupPartitionMetadataValue().setTopics(List.of(
                new ConsumerGroupPartitionMetadataValue.TopicMetadata()
                    .setTopicId(ID).setTopicName("orders").setNumPartitions(3)
                    .setPartitionMetadata(List.of(new ConsumerGroupPartitionMetadataValue.PartitionMetadata()
                        .setPartition(1).setRacks(List.of("r1", "r2")))))));
        var memberKey = new ConsumerGroupMemberMetadataKey().setGroupId("g").setMemberId("m");
        print("consumer-member", memberKey, 0, member());
        print("consumer-member-classic", memberKey, 0, member().setClassicMemberMetadata(
            new ConsumerGroupMemberMetadataValue.ClassicMemberMetadata().setSessionTimeoutMs(45_000)
                .setSupportedProtocols(List.of(new ConsumerGroupMemberMetadataValue.ClassicProtocol()
                    .setName("range").setMetadata(new byte[] {1, 2, 3})))));
        var targetKey = new ConsumerGroupTargetAssignmentMetadataKey().setGroupId("g");
        print("consumer-target", targetKey, 0, new ConsumerGroupTargetAssignmentMetadataValue()
            .setAssignmentEpoch(9).setAssignmentTimestamp(1_700_000_000_123L));
        print("consumer-target-member",
            new ConsumerGroupTargetAssignmentMemberKey().setGroupId("g").setMemberId("m"), 0,
            new ConsumerGroupTargetAssignmentMemberValue().setTopicPartitions(List.of(
                new ConsumerGroupTargetAssignmentMemberValue.TopicPartition()
                    .setTopicId(ID).setPartitions(List.of(0, 2)))));
        print("consumer-current",
            new ConsumerGroupCurrentMemberAssignmentKey().setGroupId("g").setMemberId("m"), 0,
            new ConsumerGroupCurrentMemberAssignmentValue()
                .setMemberEpoch(9).setPreviousMemberEpoch(8).setState((byte) 2)
                .setAssignedPartitions(List.of(new ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions()
                    .setTopicId(ID).setPartitions(List.of(0, 2)).setAssignmentEpochs(List.of(8, 9))))
                .setPartitionsPendingRevocation(List.of(
                    new ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions()
                        .setTopicId(ID).setPartitions(List.of(1)))));
        print("consumer-regex",
            new ConsumerGroupRegularExpressionKey().setGroupId("g").setRegularExpression("x.*"), 0,
            new ConsumerGroupRegularExpressionValue()
                .setTopics(List.of("x1", "xy")).setVersion(12).setTimestamp(1_700_000_000_123L));
    }
}
