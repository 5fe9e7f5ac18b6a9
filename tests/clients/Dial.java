import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.charset.StandardCharsets;

/**
 * Asks for a token as Java programs do. HttpURLConnection opens an IPv6 socket to a v4-mapped
 * address, which no IPv4 hook of the kernel ever sees. Prints one line of JSON like dial.c.
 */
public final class Dial {
    private Dial() {
    }

    private static String quote(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    private static String ask(String address, String port) throws Exception {
        URL url = new URL("http", address, Integer.parseInt(port),
            "/metadata/identity/oauth2/token?api-version=2018-02-01"
                + "&resource=https%3A%2F%2Fvault.azure.net");
        HttpURLConnection connection = (HttpURLConnection) url.openConnection();
        connection.setConnectTimeout(8000);
        connection.setReadTimeout(8000);
        connection.setRequestProperty("Metadata", "true");
        int status = connection.getResponseCode();
        try (InputStream in =
                 status < 400 ? connection.getInputStream() : connection.getErrorStream()) {
            String body = in == null ? "" : new String(in.readAllBytes(), StandardCharsets.UTF_8);
            return "{\"result\":\"ok\",\"status\":" + status + ",\"body\":" + quote(body) + "}";
        }
    }

    public static void main(String[] args) {
        try {
            System.out.println(ask(args[0], args[1]));
        } catch (Exception e) {
            System.out.println("{\"result\":\"error\",\"errno\":" + quote(e.getClass().getName())
                + ",\"stage\":" + quote(String.valueOf(e.getMessage())) + "}");
            System.exit(1);
        }
    }
}
