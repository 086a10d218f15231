import java.net.Socket;
import javax.net.ssl.*;

public class Probe {
    public static void main(String[] words) throws Exception {
        String host = words[0];
        int port = Integer.parseInt(words[1]);
        try (Socket plain = new Socket("127.0.0.1", port)) {
            SSLSocketFactory factory = (SSLSocketFactory) SSLSocketFactory.getDefault();
            SSLSocket socket = (SSLSocket) factory.createSocket(plain, host, port, true);
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(parameters);
            socket.startHandshake();
            System.out.println("\tok");
        } catch (java.io.IOException error) {
            System.out.println("\t" + error.getMessage());
        }
    }
}
