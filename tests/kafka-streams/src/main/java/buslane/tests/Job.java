package buslane.tests;

import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.StateRestoreListener;
import org.apache.kafka.streams.processor.TaskId;
import org.apache.kafka.streams.state.Stores;

/**
 * One instance of a Streams application, until it is ended from outside: Job (squares | words) NAME SETTING=VALUE...
 * It reads NAME-input and writes topics that begin with NAME. What it is at, it tells on stdout, a line each:
 * "state" and its name, "active" and the tasks it has, "restored" with a store's name and how many records came out of
 * its changelog, "failure" and what ended it, "closed" and whether in time. Logs go to stderr.
 */
public final class Job {
    private static final Duration WINDOW = Duration.ofHours(1);
    private static final Duration GRACE = Duration.ofHours(24);

    public static void main(String[] arguments) throws Exception {
        StreamsBuilder builder = new StreamsBuilder();
        String name = arguments[1];
        switch (arguments[0]) {
            case "squares" -> squares(builder, name);
            case "words" -> words(builder, name);
            default -> throw new IllegalArgumentException("there is no job " + arguments[0]);
        }
        KafkaStreams job = new KafkaStreams(builder.build(), settings(name, arguments));
        job.setStateListener((now, before) -> tell("state " + now));
        job.setUncaughtExceptionHandler(failure -> {
            tell("failure " + causes(failure));
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        job.setGlobalStateRestoreListener(new Restored());
        Runtime.getRuntime().addShutdownHook(new Thread(() -> tell("closed " + (job.close(Duration.ofSeconds(20)) ? "in time" : "late"))));
        job.start();
        for (String before = ""; ; Thread.sleep(50)) {
            String active = active(job);
            if (!active.equals(before)) {
                tell(active);
                before = active;
            }
        }
    }

    /** Without a state: numbers that three divides are left out, the others squared, even ones apart from odd ones. */
    private static void squares(StreamsBuilder builder, String name) {
        builder.<String, String>stream(name + "-input")
                .mapValues(value -> Long.parseLong(value))
                .filter((key, number) -> number % 3 != 0)
                .mapValues(number -> String.valueOf(number * number))
                .split()
                .branch((key, square) -> Long.parseLong(square) % 2 == 0, Branched.withConsumer(even -> even.to(name + "-even")))
                .defaultBranch(Branched.withConsumer(odd -> odd.to(name + "-odd")));
    }

    /** With state, behind a repartition topic: how often each word came, in all (RocksDB) and by the hour (in memory). */
    private static void words(StreamsBuilder builder, String name) {
        KGroupedStream<String, String> words = builder.<String, String>stream(name + "-input")
                .flatMapValues(line -> Arrays.asList(line.split(" ")))
                .groupBy((key, word) -> word, Grouped.as("words"));
        words.count(Materialized.as("totals")).toStream().mapValues(count -> String.valueOf(count)).to(name + "-totals");
        words.windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE))
                .count(Materialized.<String, Long>as(Stores.inMemoryWindowStore("hours", WINDOW.plus(GRACE), WINDOW, false)))
                .toStream()
                .map((hour, count) -> KeyValue.pair(hour.key() + "@" + hour.window().start(), String.valueOf(count)))
                .to(name + "-hours");
    }

    private static Properties settings(String name, String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, name);
        settings.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.String().getClass());
        settings.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.String().getClass());
        for (String argument : List.of(arguments).subList(2, arguments.length)) {
            String[] setting = argument.split("=", 2);
            settings.put(setting[0], setting[1]);
        }
        return settings;
    }

    private static String active(KafkaStreams job) {
        Stream<TaskId> tasks = job.metadataForLocalThreads().stream().flatMap(thread -> thread.activeTasks().stream()).map(task -> task.taskId());
        return "active " + tasks.map(TaskId::toString).sorted().collect(Collectors.joining(" "));
    }

    private static String causes(Throwable failure) {
        return Stream.iterate(failure, one -> one != null, Throwable::getCause)
                .map(one -> one.getClass().getSimpleName() + ": " + one.getMessage())
                .collect(Collectors.joining("; "))
                .replace('\n', ' ');
    }

    private static synchronized void tell(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static final class Restored implements StateRestoreListener {
        @Override
        public void onRestoreStart(TopicPartition changelog, String store, long from, long until) {}

        @Override
        public void onBatchRestored(TopicPartition changelog, String store, long until, long count) {}

        @Override
        public void onRestoreEnd(TopicPartition changelog, String store, long count) {
            tell("restored " + store + " " + count);
        }
    }

    private Job() {}
}
