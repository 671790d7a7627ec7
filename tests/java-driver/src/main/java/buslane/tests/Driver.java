package buslane.tests;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.ExecutionException;

/**
 * Reads one JSON request a line from stdin and answers with one JSON line on stdout: {"ok": ...} or
 * {"error": exception class, "message": ...}. One process serves a whole test run; a JVM start costs more than a test.
 * Logs go to stderr.
 */
public final class Driver {
    static final ObjectMapper JSON = new ObjectMapper();

    @FunctionalInterface
    interface Verb {
        Object run(JsonNode request) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream answers = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        Streams streams = new Streams();
        Consumers consumers = new Consumers();
        GroupMembers members = new GroupMembers();
        Map<String, Verb> verbs = Map.ofEntries(
                Map.entry("produce", Producers::produce),
                Map.entry("transaction", Producers::transaction),
                Map.entry("stream-start", streams::start),
                Map.entry("stream-progress", streams::progress),
                Map.entry("stream-stop", streams::stop),
                Map.entry("consume", Consumers::consume),
                Map.entry("read-to-end", Consumers::readToEnd),
                Map.entry("offsets-for-times", Consumers::offsetsForTimes),
                Map.entry("tail-open", consumers::open),
                Map.entry("tail-poll", consumers::poll),
                Map.entry("tail-close", consumers::close),
                Map.entry("member-start", members::start),
                Map.entry("member-status", members::status),
                Map.entry("member-commit", members::commit),
                Map.entry("member-stop", members::stop),
                Map.entry("admin", Admins::run),
                Map.entry("group-admin", GroupAdmins::run));
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                JsonNode request = JSON.readTree(line);
                Verb verb = verbs.get(request.get("verb").asText());
                answer.set("ok", JSON.valueToTree(verb.run(request)));
            } catch (Throwable failure) {
                Throwable cause = failure instanceof ExecutionException ? failure.getCause() : failure;
                answer.removeAll();
                answer.put("error", cause.getClass().getSimpleName());
                answer.put("message", String.valueOf(cause.getMessage()));
                cause.printStackTrace();
            }
            answers.println(JSON.writeValueAsString(answer));
        }
        System.exit(0);
    }

    private Driver() {}
}
