import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;

/**
 * Asks for a token as Java programs do. HttpURLConnection opens an IPv6 socket to a v4-mapped
 * address, which no IPv4 hook of the kernel ever sees. Prints one line of JSON like dial.c.
 *
 * <pre>java Dial ADDRESS PORT [QUERY [ATTEMPTS]]</pre>
 *
 * QUERY, which starts with an ampersand, is appended to the query. An answer of 5xx is followed by
 * another attempt after as many seconds as Retry-After says, up to ATTEMPTS in all (1).
 */
public final class Dial {
    private static final String TOKEN = "/metadata/identity/oauth2/token?api-version=2018-02-01"
        + "&resource=https%3A%2F%2Fvault.azure.net";

    private Dial() {
    }

    private static String quote(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    private static String read(HttpURLConnection connection, int status) throws Exception {
        try (InputStream in =
                 status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            return in == null ? "" : new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static String ask(URL url, int attempts) throws Exception {
        for (int attempt = 1;; attempt++) {
            HttpURLConnection connection = (HttpURLConnection) url.openConnection();
            connection.setConnectTimeout(8000);
            connection.setReadTimeout(8000);
            connection.setRequestProperty("Metadata", "true");
            int status = connection.getResponseCode();
            String body = read(connection, status);
            if (status < 500 || attempt >= attempts) {
                return "{\"result\":\"ok\",\"status\":" + status + ",\"body\":" + quote(body) + "}";
            }
            Thread.sleep(1000L * connection.getHeaderFieldInt("Retry-After", 1));
        }
    }

    public static void main(String[] args) {
        try {
            String query = args.length > 2 ? args[2] : "";
            int attempts = args.length > 3 ? Integer.parseInt(args[3]) : 1;
            URL url = new URL("http", args[0], Integer.parseInt(args[1]), TOKEN + query);
            System.out.println(ask(url, attempts));
        } catch (Exception e) {
            System.out.println("{\"result\":\"error\",\"errno\":" + quote(e.getClass().getName())
                + ",\"stage\":" + quote(String.valueOf(e.getMessage())) + "}");
            System.exit(1);
        }
    }
}
