import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.eventmesh.client.tcp.EventMeshTCPClient;
import org.apache.eventmesh.client.tcp.EventMeshTCPClientFactory;
import org.apache.eventmesh.client.tcp.conf.EventMeshTCPClientConfig;
import org.apache.eventmesh.common.protocol.SubscriptionMode;
import org.apache.eventmesh.common.protocol.SubscriptionType;
import org.apache.eventmesh.common.protocol.tcp.Header;
import org.apache.eventmesh.common.protocol.tcp.UserAgent;

/**
 * The real EventMesh Java SDK as a peer for flowd's tests.
 *
 * <pre>
 * MeshPeer subscribe HOST PORT TOPIC GROUP [clustering|broadcasting] [holdMillis]
 * MeshPeer publish   HOST PORT
 * MeshPeer replay    HOST PORT TOPIC FILE
 * </pre>
 *
 * subscribe prints every event as one JSON line on stdout (all attributes and extensions, `data` as JSON) until stdin
 * ends or the process is killed; "ready" on stderr says that LISTEN was answered. publish reads structured CloudEvents,
 * one JSON line each, from stdin, and prints one line per answer: id, code, desc, body. replay reads such lines from a
 * file first, and then publishes them to a topic, one at a time, as fast as the answers come; the first refusal ends it.
 */
public final class MeshPeer {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PrintStream OUT = new PrintStream(System.out, false, StandardCharsets.UTF_8);

    static {
        // Stdout is for answers: whatever the SDK's libraries print goes to stderr.
        System.setOut(System.err);
    }

    public static void main(String[] arguments) throws Exception {
        String host = arguments[1];
        int port = Integer.parseInt(arguments[2]);
        if (arguments[0].equals("subscribe")) {
            boolean broadcast = arguments.length > 5 && arguments[5].equals("broadcasting");
            long hold = arguments.length > 6 ? Long.parseLong(arguments[6]) : 0;
            subscribe(connect(host, port, "sub", arguments[4]), arguments[3], broadcast, hold);
        } else if (arguments[0].equals("publish")) {
            publish(connect(host, port, "pub", "mesh-peer-publisher"));
        } else if (arguments[0].equals("replay")) {
            List<CloudEvent> events = new ArrayList<>();
            try (BufferedReader lines = Files.newBufferedReader(Path.of(arguments[4]))) {
                for (String line; (line = lines.readLine()) != null; ) {
                    events.add(CloudEventBuilder.v1(fromJson(JSON.readTree(line))).withSubject(arguments[3]).build());
                }
            }
            replay(connect(host, port, "pub", "mesh-peer-publisher"), events);
        } else {
            throw new IllegalArgumentException("first argument: subscribe, publish or replay, not " + arguments[0]);
        }
    }

    private static EventMeshTCPClient<CloudEvent> connect(String host, int port, String purpose, String group) throws Exception {
        UserAgent agent = UserAgent.builder().env("TEST").subsystem("7001").path("/tests").pid(1).host("localhost").port(0)
            .version("2.0").username("flowd").password("flowd").idc("IDC1").group(group).purpose(purpose).build();
        EventMeshTCPClientConfig config = EventMeshTCPClientConfig.builder().host(host).port(port).userAgent(agent).build();
        EventMeshTCPClient<CloudEvent> client = EventMeshTCPClientFactory.createEventMeshTCPClient(config, CloudEvent.class);
        client.init();
        return client;
    }

    private static void subscribe(EventMeshTCPClient<CloudEvent> client, String topic, boolean broadcast, long hold) throws Exception {
        client.registerSubBusiHandler(event -> {
            try {
                OUT.println(JSON.writeValueAsString(asJson(event)));
                OUT.flush();
                if (hold > 0) {
                    Thread.sleep(hold);
                }
            } catch (Exception failure) {
                failure.printStackTrace();
            }
            return Optional.empty();
        });
        client.subscribe(topic, broadcast ? SubscriptionMode.BROADCASTING : SubscriptionMode.CLUSTERING, SubscriptionType.ASYNC);
        client.listen();
        System.err.println("ready");
        while (System.in.read() >= 0) {
            // Stdin is the leash: its end means stop.
        }
        client.close();
        System.exit(0);
    }

    private static ObjectNode asJson(CloudEvent event) throws Exception {
        ObjectNode line = JSON.createObjectNode();
        for (String name : event.getAttributeNames()) {
            Object value = event.getAttribute(name);
            if (value != null) {
                line.put(name, value.toString());
            }
        }
        for (String name : event.getExtensionNames()) {
            line.put(name, String.valueOf(event.getExtension(name)));
        }
        if (event.getData() != null) {
            line.set("data", JSON.readTree(event.getData().toBytes()));
        }
        return line;
    }

    private static void publish(EventMeshTCPClient<CloudEvent> client) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        int refused = 0;
        for (String line; (line = lines.readLine()) != null; ) {
            JsonNode event = JSON.readTree(line);
            ObjectNode answer = JSON.createObjectNode().put("id", event.path("id").asText());
            try {
                org.apache.eventmesh.common.protocol.tcp.Package reply = client.publish(fromJson(event), 10_000);
                Header header = reply.getHeader();
                answer.put("code", header.getCode()).put("desc", header.getDesc());
                answer.put("body", reply.getBody() == null ? null : reply.getBody().toString());
                refused += header.getCode() == 0 ? 0 : 1;
            } catch (Exception failure) {
                answer.put("code", -1).put("desc", failure.toString());
                refused++;
            }
            OUT.println(JSON.writeValueAsString(answer));
            OUT.flush();
        }
        client.close();
        System.exit(refused == 0 ? 0 : 1);
    }

    private static void replay(EventMeshTCPClient<CloudEvent> client, List<CloudEvent> events) throws Exception {
        for (CloudEvent event : events) {
            Header header = client.publish(event, 10_000).getHeader();
            if (header.getCode() != 0) {
                System.err.println(event.getId() + ": " + header.getDesc());
                System.exit(1);
            }
        }
        client.close();
        System.exit(0);
    }

    private static CloudEvent fromJson(JsonNode event) throws Exception {
        io.cloudevents.core.v1.CloudEventBuilder builder = CloudEventBuilder.v1();
        for (Iterator<Map.Entry<String, JsonNode>> fields = event.fields(); fields.hasNext(); ) {
            Map.Entry<String, JsonNode> field = fields.next();
            String text = field.getValue().asText();
            switch (field.getKey()) {
                case "specversion": break;
                case "id": builder.withId(text); break;
                case "source": builder.withSource(URI.create(text)); break;
                case "type": builder.withType(text); break;
                case "subject": builder.withSubject(text); break;
                case "datacontenttype": builder.withDataContentType(text); break;
                case "dataschema": builder.withDataSchema(URI.create(text)); break;
                case "time": builder.withTime(OffsetDateTime.parse(text)); break;
                case "data": builder.withData(JSON.writeValueAsBytes(field.getValue())); break;
                default: builder.withExtension(field.getKey(), text);
            }
        }
        return builder.build();
    }
}
