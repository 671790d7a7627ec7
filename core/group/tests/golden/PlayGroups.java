// Plays random requests to Kafka's own group coordinator shard and prints what it answers: the transcripts that
// ../transcripts.rs plays to ours.
//
//   mvn -q dependency:copy-dependencies -DoutputDirectory=lib   (with kafka-group-coordinator 4.4.0 as the dependency)
//   java -cp 'lib/*' PlayGroups.java 300 > groups.transcript
//
// Members are called m1, m2, ... in the order in which their ids are told. A scenario ends before Kafka would choose a
// leader by the order of a hash map, and where it makes one of two slips that we do not share.
import java.lang.reflect.Field;
import java.net.InetAddress;
import java.util.*;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.errors.ApiException;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.message.*;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.security.auth.KafkaPrincipal;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.common.utils.internals.LogContext;
import org.apache.kafka.coordinator.common.runtime.*;
import org.apache.kafka.coordinator.group.*;
import org.apache.kafka.coordinator.group.classic.*;
import org.apache.kafka.coordinator.group.generated.*;
import org.apache.kafka.coordinator.group.metrics.GroupCoordinatorMetrics;
import org.apache.kafka.coordinator.group.modern.share.ShareGroupConfig;
import org.apache.kafka.server.authorizer.AuthorizableRequestContext;
import org.apache.kafka.timeline.SnapshotRegistry;

public class PlayGroups {
    /** The leader would be whichever a hash map yields, or a slip of Kafka's shows that we do not share. */
    static class Unwanted extends RuntimeException { }

    static class ManualTime implements Time {
        long now = 1_000_000;
        public long milliseconds() { return now; }
        public long nanoseconds() { return now * 1_000_000; }
        public void sleep(long ms) { throw new UnsupportedOperationException(); }
    }

    record Deadline(String key, long at, long order, CoordinatorTimer.TimeoutOperation<CoordinatorRecord> operation) { }

    class ManualTimer implements CoordinatorTimer<CoordinatorRecord> {
        final Map<String, Deadline> deadlines = new HashMap<>();
        long order = 0;
        public void schedule(String key, long delay, TimeUnit unit, boolean retry, TimeoutOperation<CoordinatorRecord> operation) {
            deadlines.put(key, new Deadline(key, time.now + unit.toMillis(delay), order++, operation));
        }
        public void schedule(String key, long delay, TimeUnit unit, boolean retry, long backoff, TimeoutOperation<CoordinatorRecord> operation) {
            schedule(key, delay, unit, retry, operation);
        }
        public void scheduleIfAbsent(String key, long delay, TimeUnit unit, boolean retry, TimeoutOperation<CoordinatorRecord> operation) {
            if (!deadlines.containsKey(key)) schedule(key, delay, unit, retry, operation);
        }
        public void cancel(String key) { deadlines.remove(key); }
        public boolean isScheduled(String key) { return deadlines.containsKey(key); }
        Deadline due(long until) {
            return deadlines.values().stream().filter(d -> d.at <= until)
                .min(Comparator.comparingLong(Deadline::at).thenComparingLong(Deadline::order)).orElse(null);
        }
    }

    static class NoExecutor implements CoordinatorExecutor<CoordinatorRecord> {
        public <R> boolean schedule(String key, TaskRunnable<R> task, TaskOperation<CoordinatorRecord, R> operation) { return false; }
        public boolean isScheduled(String key) { return false; }
        public void cancel(String key) { }
    }

    static AuthorizableRequestContext context(int version) {
        return new AuthorizableRequestContext() {
            public String listenerName() { return ""; }
            public SecurityProtocol securityProtocol() { return SecurityProtocol.PLAINTEXT; }
            public KafkaPrincipal principal() { return KafkaPrincipal.ANONYMOUS; }
            public InetAddress clientAddress() { return InetAddress.getLoopbackAddress(); }
            public int requestType() { return 0; }
            public int requestVersion() { return version; }
            public String clientId() { return "c"; }
            public int correlationId() { return 0; }
        };
    }

    final ManualTime time = new ManualTime();
    final ManualTimer timer = new ManualTimer();
    final Random random;
    final GroupCoordinatorShard shard;
    final GroupMetadataManager manager;
    final StringBuilder out = new StringBuilder();
    StringBuilder step;
    final Map<String, String> aliases = new HashMap<>();
    final List<String> ids = new ArrayList<>();
    final Map<String, Integer> generations = new HashMap<>();
    final Map<String, String> instances = new HashMap<>();
    final Map<Integer, CompletableFuture<?>> waiting = new TreeMap<>();
    final Map<Integer, String[]> joining = new HashMap<>();
    final List<String> records = new ArrayList<>();
    long written = 0;
    int operation = 0;

    PlayGroups(long seed) throws Exception {
        random = new Random(seed);
        int delay = pick(0, 3000, 3000);
        int max = pick(2, 3, 100, 100);
        Map<String, Object> props = Map.of(
            "group.initial.rebalance.delay.ms", delay, "group.max.size", max, "offset.metadata.max.bytes", 8);
        var all = new ConfigDef(GroupCoordinatorConfig.CONFIG_DEF);
        ShareGroupConfig.CONFIG_DEF.configKeys().values().forEach(all::define);
        var parsed = new AbstractConfig(all, props, false);
        var config = new GroupCoordinatorConfig(parsed);
        var share = new ShareGroupConfig(parsed);
        var registry = new SnapshotRegistry(new LogContext());
        var builder = new GroupCoordinatorShard.Builder(config, new GroupConfigManager(config, share));
        builder.withAuthorizerPlugin(Optional.empty());
        builder.withLogContext(new LogContext()).withTime(time).withTimer(timer).withExecutor(new NoExecutor())
            .withCoordinatorMetrics(new GroupCoordinatorMetrics())
            .withTopicPartition(new TopicPartition("__consumer_offsets", 0))
            .withSnapshotRegistry(registry);
        shard = builder.build();
        Field field = GroupCoordinatorShard.class.getDeclaredField("groupMetadataManager");
        field.setAccessible(true);
        manager = (GroupMetadataManager) field.get(shard);
        out.append("scenario ").append(seed).append(" delay=").append(delay).append(" max=").append(max).append('\n');
    }

    @SafeVarargs
    final <T> T pick(T... choices) { return choices[random.nextInt(choices.length)]; }

    ClassicGroup group() {
        try {
            return manager.classicGroup("g", Long.MAX_VALUE);
        } catch (ApiException e) {
            return null;
        }
    }

    String alias(String id) {
        if (id == null) return "null";
        if (id.isEmpty()) return "-";
        if (id.equals("stranger")) return id;
        return aliases.computeIfAbsent(id, __ -> { ids.add(id); return "m" + ids.size(); });
    }

    static String text(byte[] bytes) { return bytes == null || bytes.length == 0 ? "-" : new String(bytes); }

    static String orNull(Object text) { return text == null || text.toString().isEmpty() ? "-" : text.toString(); }

    <T> T carry(CoordinatorResult<T, CoordinatorRecord> result) {
        int first = records.size();
        for (CoordinatorRecord record : result.records()) {
            if (result.replayRecords()) shard.replay(written, -1L, (short) -1, record);
            written++;
            if (record.key() instanceof GroupMetadataKey) {
                if (record.value() == null) {
                    records.add("group null");
                } else {
                    var value = (GroupMetadataValue) record.value().message();
                    records.add("group " + value.generation() + " " + orNull(value.protocolType()) + " "
                        + orNull(value.protocol()) + " leader=" + value.leader() + " members=" + value.members().stream()
                        .map(m -> m.memberId() + ":" + orNull(m.groupInstanceId()) + ":" + m.sessionTimeout() + ":"
                            + m.rebalanceTimeout() + ":" + text(m.assignment()))
                        .collect(Collectors.joining(",")));
                }
            } else if (record.key() instanceof OffsetCommitKey key) {
                records.add("offset " + key.topic() + " " + key.partition() + " " + (record.value() == null ? "null"
                    : ((OffsetCommitValue) record.value().message()).offset() + " v" + record.value().version()));
            } else {
                records.add("other " + record.key());
            }
        }
        // Offsets come out of hash maps.
        records.subList(first, records.size()).sort(Comparator.comparing((String text) -> !text.startsWith("offset"))
            .thenComparing(text -> text.startsWith("offset") ? text : ""));
        if (result.appendFuture() != null) result.appendFuture().complete(null);
        return result.response();
    }

    /** Runs something that may change the leader. */
    void watched(Runnable action) {
        ClassicGroup before = group();
        String leader = before == null ? null : before.leaderOrNull();
        String instance = leader == null ? null : before.allMembers().stream()
            .filter(m -> m.memberId().equals(leader)).findFirst().flatMap(ClassicGroupMember::groupInstanceId).orElse(null);
        boolean stale = before != null && before.isEmpty() && before.newMemberAdded();
        action.run();
        ClassicGroup after = group();
        // A mark that an earlier first rebalance has left prolongs this one.
        if (stale && after == before && !after.isEmpty()) throw new Unwanted();
        // A static member that returned without having synced under its old id will be waited for under that id.
        if (after != null && !after.allMemberIds().containsAll(after.allPendingSyncMembers())) throw new Unwanted();
        if (leader == null || after == null || after.leaderOrNull() == null || after.isLeader(leader)) return;
        if (instance != null && after.leaderOrNull().equals(after.staticMemberId(instance))
            && !after.hasMember(leader)) return;
        long candidates = after.allMembers().stream().filter(m -> !m.memberId().equals(leader)).count();
        if (candidates > 1) throw new Unwanted();
    }

    String id() {
        if (ids.isEmpty() || random.nextInt(30) == 0) return "stranger";
        // The newest ids are the ones that matter.
        int back = Math.min(ids.size(), 1 + random.nextInt(4));
        return ids.get(ids.size() - back);
    }

    String instanceOf(String id) {
        String instance = instances.get(id);
        return random.nextInt(20) == 0 ? pick("i1", "i2", null) : instance;
    }

    int generationOf(String id) {
        ClassicGroup group = group();
        int generation = group != null && random.nextInt(3) > 0 ? group.generationId() : generations.getOrDefault(id, -1);
        return random.nextInt(15) == 0 ? generation + pick(-1, 1) : generation;
    }

    void join(String id) {
        String instance = id.isEmpty() ? pick(null, null, "i1", "i2") : instanceOf(id);
        int version = pick(3, 5, 5, 9);
        int session = pick(6000, 10000, 30000);
        int rebalance = pick(6000, 20000, 60000);
        String type = random.nextInt(25) == 0 ? "connect" : "consumer";
        String protocols = random.nextInt(25) == 0 ? "y" : pick("range", "range", "range,x");
        int n = operation;
        step.append("> ").append(n).append(" join member=").append(alias(id))
            .append(" instance=").append(instance).append(" version=").append(version).append(" session=").append(session)
            .append(" rebalance=").append(rebalance).append(" type=").append(type).append(" protocols=").append(protocols)
            .append('\n');
        var list = new JoinGroupRequestData.JoinGroupRequestProtocolCollection();
        for (String name : protocols.split(",")) {
            list.add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName(name).setMetadata(name.getBytes()));
        }
        var request = new JoinGroupRequestData().setGroupId("g").setMemberId(id).setGroupInstanceId(instance)
            .setSessionTimeoutMs(session).setRebalanceTimeoutMs(rebalance).setProtocolType(type).setProtocols(list);
        var future = new CompletableFuture<JoinGroupResponseData>();
        waiting.put(n, future);
        joining.put(n, new String[] {instance});
        watched(() -> {
            try {
                carry(shard.classicGroupJoin(context(version), request, future, false));
            } catch (RuntimeException e) {
                if (e instanceof Unwanted) throw e;
                future.complete(new JoinGroupResponseData().setMemberId(id).setErrorCode(Errors.forException(e).code()));
            }
        });
    }

    void sync(String id) {
        int n = operation, generation = generationOf(id);
        String instance = instanceOf(id);
        boolean five = random.nextInt(3) == 0;
        String type = five ? (random.nextInt(10) == 0 ? "connect" : "consumer") : null;
        String name = five ? (random.nextInt(10) == 0 ? "other" : "range") : null;
        ClassicGroup group = group();
        var given = new TreeMap<String, String>();
        if (group != null && group.isLeader(id) && random.nextInt(8) > 0) {
            for (ClassicGroupMember member : group.allMembers()) {
                if (random.nextInt(8) > 0) given.put(alias(member.memberId()), member.memberId());
            }
        }
        step.append("> ").append(n).append(" sync member=").append(alias(id))
            .append(" instance=").append(instance).append(" generation=").append(generation).append(" type=").append(type)
            .append(" protocol=").append(name).append(" given=")
            .append(given.isEmpty() ? "-" : String.join(",", given.keySet())).append('\n');
        var request = new SyncGroupRequestData().setGroupId("g").setMemberId(id).setGroupInstanceId(instance)
            .setGenerationId(generation).setProtocolType(type).setProtocolName(name)
            .setAssignments(given.entrySet().stream().map(e -> new SyncGroupRequestData.SyncGroupRequestAssignment()
                .setMemberId(e.getValue()).setAssignment((n + "/" + e.getKey()).getBytes())).toList());
        var future = new CompletableFuture<SyncGroupResponseData>();
        waiting.put(n, future);
        watched(() -> {
            try {
                carry(shard.classicGroupSync(context(five ? 5 : 3), request, future));
            } catch (RuntimeException e) {
                if (e instanceof Unwanted) throw e;
                future.complete(new SyncGroupResponseData().setErrorCode(Errors.forException(e).code()));
            }
        });
    }

    interface Answer { String get(); }

    void answered(String request, Answer answer) {
        int n = operation;
        step.append("> ").append(n).append(' ').append(request).append('\n');
        watched(() -> {
            String text;
            try {
                text = answer.get();
            } catch (RuntimeException e) {
                if (e instanceof Unwanted) throw e;
                text = "error=" + Errors.forException(e).code();
            }
            waiting.put(n, CompletableFuture.completedFuture(text));
        });
    }

    void heartbeat(String id) {
        int generation = generationOf(id);
        String instance = instanceOf(id);
        answered("heartbeat member=" + alias(id) + " instance=" + instance + " generation=" + generation,
            () -> "error=" + carry(shard.classicGroupHeartbeat(context(4), new HeartbeatRequestData().setGroupId("g")
                .setMemberId(id).setGroupInstanceId(instance).setGenerationId(generation))).errorCode());
    }

    void leave() {
        var members = new ArrayList<LeaveGroupRequestData.MemberIdentity>();
        for (int i = pick(1, 1, 1, 2); i > 0; i--) {
            String id = id();
            boolean byName = instances.get(id) != null && random.nextInt(3) == 0;
            members.add(new LeaveGroupRequestData.MemberIdentity().setMemberId(byName ? "" : id).setGroupInstanceId(instanceOf(id)));
        }
        String text = members.stream().map(m -> alias(m.memberId())
            + ":" + m.groupInstanceId()).collect(Collectors.joining(","));
        answered("leave members=" + text, () -> {
            LeaveGroupResponseData reply;
            try {
                reply = carry(shard.classicGroupLeave(context(5), new LeaveGroupRequestData().setGroupId("g").setMembers(members)));
            } catch (UnknownMemberIdException e) {
                // What Kafka's service makes of it.
                return "error=0 members=" + members.stream().map(m -> "25").collect(Collectors.joining(","));
            }
            return "error=" + reply.errorCode() + " members=" + reply.members().stream()
                .map(m -> String.valueOf(m.errorCode())).collect(Collectors.joining(","));
        });
    }

    void commit() {
        boolean simple = random.nextInt(3) == 0;
        String id = simple ? "" : id();
        int generation = simple ? -1 : generationOf(id), version = pick(8, 9);
        String instance = simple ? null : instanceOf(id), topic = pick("t", "u");
        // Kafka makes a group of a simple consumer's first commit even when it refuses all of it, but only in memory.
        String metadata = group() == null ? "m" : pick("m", "m", "far too long");
        int offset = operation;
        answered("commit member=" + (alias(id)) + " instance=" + instance
            + " generation=" + generation + " version=" + version + " topic=" + topic + " metadata=" + metadata.replace(' ', '_'),
            () -> "error=" + carry(shard.commitOffset(context(version), new OffsetCommitRequestData().setGroupId("g")
                .setMemberId(id).setGroupInstanceId(instance).setGenerationIdOrMemberEpoch(generation)
                .setTopics(List.of(new OffsetCommitRequestData.OffsetCommitRequestTopic().setName(topic)
                    .setPartitions(List.of(new OffsetCommitRequestData.OffsetCommitRequestPartition()
                        .setPartitionIndex(0).setCommittedOffset(offset).setCommittedMetadata(metadata)))))))
                .topics().get(0).partitions().get(0).errorCode());
    }

    void fetch() {
        String topic = pick("t", "u");
        answered("fetch topic=" + topic, () -> {
            var partition = shard.fetchOffsets(new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId("g")
                .setTopics(List.of(new OffsetFetchRequestData.OffsetFetchRequestTopics().setName(topic)
                    .setPartitionIndexes(List.of(0)))), Long.MAX_VALUE).topics().get(0).partitions().get(0);
            return "error=" + partition.errorCode() + " offset=" + partition.committedOffset();
        });
    }

    void deleteOffset() {
        String topic = pick("t", "u");
        answered("offset-delete topic=" + topic, () -> {
            var partitions = new OffsetDeleteRequestData.OffsetDeleteRequestTopicCollection();
            partitions.add(new OffsetDeleteRequestData.OffsetDeleteRequestTopic().setName(topic)
                .setPartitions(List.of(new OffsetDeleteRequestData.OffsetDeleteRequestPartition().setPartitionIndex(0))));
            var reply = carry(shard.deleteOffsets(context(0), new OffsetDeleteRequestData().setGroupId("g").setTopics(partitions)));
            return "error=" + reply.errorCode() + " partition=" + reply.topics().find(topic).partitions().find(0).errorCode();
        });
    }

    void deleteGroup() {
        answered("delete", () -> "error=" + carry(shard.deleteGroups(context(2), List.of("g"))).find("g").errorCode());
    }

    void pass() {
        int ms = pick(1, 500, 1000, 2999, 3000, 5000, 5000, 6000, 10000, 20000);
        step.append("> ").append(operation).append(" pass ms=").append(ms).append('\n');
        long until = time.now + ms;
        for (Deadline due = timer.due(until); due != null; due = timer.due(until)) {
            Deadline now = due;
            timer.deadlines.remove(now.key);
            time.now = Math.max(time.now, now.at);
            watched(() -> carry(now.operation.generateRecords()));
        }
        time.now = until;
    }

    void answers() {
        var done = waiting.entrySet().stream().filter(e -> e.getValue().isDone()).map(Map.Entry::getKey).toList();
        for (int n : done) {
            if (waiting.get(n).join() instanceof JoinGroupResponseData reply) {
                alias(reply.memberId());
                if (!reply.memberId().isEmpty()) {
                    if (!reply.memberId().equals("stranger")) instances.put(reply.memberId(), joining.get(n)[0]);
                    if (reply.errorCode() == 0) generations.put(reply.memberId(), reply.generationId());
                }
            }
        }
        for (int n : done) {
            Object answer = waiting.remove(n).join();
            step.append("< ").append(n).append(' ');
            if (answer instanceof JoinGroupResponseData reply) {
                step.append("error=").append(reply.errorCode()).append(" member=").append(alias(reply.memberId()))
                    .append(" generation=").append(reply.generationId()).append(" type=").append(orNull(reply.protocolType()))
                    .append(" protocol=").append(orNull(reply.protocolName())).append(" leader=").append(alias(reply.leader()))
                    .append(" skip=").append(reply.skipAssignment()).append(" members=").append(reply.members().stream()
                        .map(m -> alias(m.memberId()) + ":" + m.groupInstanceId() + ":" + text(m.metadata())).sorted()
                        .collect(Collectors.joining(",")));
            } else if (answer instanceof SyncGroupResponseData reply) {
                step.append("error=").append(reply.errorCode()).append(" type=").append(orNull(reply.protocolType()))
                    .append(" protocol=").append(orNull(reply.protocolName())).append(" assignment=").append(text(reply.assignment()));
            } else {
                step.append(answer);
            }
            step.append('\n');
        }
        for (String record : records) {
            String text = record;
            for (String id : ids) text = text.replace(id, aliases.get(id));
            int at = text.indexOf(" members=");
            if (at >= 0) {
                text = text.substring(0, at + 9) + Arrays.stream(text.substring(at + 9).split(",")).sorted().collect(Collectors.joining(","));
            }
            step.append("+ ").append(text).append('\n');
        }
        records.clear();
        ClassicGroup group = group();
        if (group == null) {
            step.append("= Dead\n");
        } else {
            step.append("= ").append(group.stateAsString()).append(' ').append(group.generationId()).append(' ')
                .append(orNull(group.protocolType().orElse(null))).append(' ').append(group.allMembers().stream()
                    .map(m -> alias(m.memberId())).sorted().collect(Collectors.joining(","))).append('\n');
        }
        out.append(step);
    }

    void play(int steps) {
        try {
            for (; operation < steps; operation++) {
                step = new StringBuilder();
                int choice = random.nextInt(ids.isEmpty() ? 40 : 100);
                if (choice < 14 || choice < 30 && ids.isEmpty()) join("");
                else if (choice < 38) join(id());
                else if (choice < 62) sync(id());
                else if (choice < 72) heartbeat(id());
                else if (choice < 77) leave();
                else if (choice < 83) commit();
                else if (choice < 85) fetch();
                else if (choice < 87) deleteOffset();
                else if (choice < 89) deleteGroup();
                else pass();
                answers();
            }
        } catch (Unwanted e) {
            // The step is not printed.
        }
    }

    public static void main(String[] args) throws Exception {
        for (int seed = 0; seed < Integer.parseInt(args[0]); seed++) {
            var scenario = new PlayGroups(seed);
            scenario.play(60);
            System.out.print(scenario.out);
        }
    }
}
