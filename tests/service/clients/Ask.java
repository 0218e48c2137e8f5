import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;

/** Asks with the client of the JDK as it is, which offers HTTP/2 and keeps its connections: Ask URL IMAGE. */
class Ask {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        URI right = URI.create(arguments[0] + "/predict?latency_budget_ms=inf");
        URI wrong = URI.create(arguments[0] + "/predict?latency_budget_ms=never");
        Path image = Path.of(arguments[1]);
        for (URI uri : new URI[] {right, wrong, right}) {
            for (boolean expecting : new boolean[] {false, true}) {
                HttpRequest.Builder request = HttpRequest.newBuilder(uri).expectContinue(expecting);
                print(client.send(request.POST(BodyPublishers.ofFile(image)).build(), BodyHandlers.ofString()));
                // Without a known length the body comes in chunks.
                HttpRequest.BodyPublisher chunks = BodyPublishers.fromPublisher(BodyPublishers.ofFile(image));
                print(client.send(request.POST(chunks).build(), BodyHandlers.ofString()));
            }
        }
    }

    static void print(HttpResponse<String> response) {
        System.out.println(response.statusCode() + " " + response.body());
    }
}
