//! Real clients, each told to trust one file, against a TLS server on loopback.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    sync::Arc,
    thread,
};

use rustls::{
    ServerConfig, ServerConnection, Stream,
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::place::{OTHER, Place, SERVER, Said, run};

const PYTHON: &str = "
import socket, ssl, sys
host, port, roots = sys.argv[1:]
context = ssl.create_default_context(cafile=roots)
with socket.create_connection(('127.0.0.1', int(port)), 20) as plain:
    context.wrap_socket(plain, server_hostname=host).close()
";

const NODE: &str = "
const [host, port, roots] = process.argv.slice(-3);
const tls = require('tls'), net = require('net');
const options = { host: '127.0.0.1', port, ca: require('fs').readFileSync(roots) };
if (net.isIP(host)) options.checkServerIdentity = (_, certificate) => tls.checkServerIdentity(host, certificate);
else options.servername = host;
tls.connect(options, () => process.exit(0)).on('error', (error) => { console.error(error.code, error.message); process.exit(1); });
";

/// A server that shows this certificate, for as long as the test runs. Gives its port.
pub(crate) fn serve(key: Arc<CertifiedKey>) -> String {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            let mut session = ServerConnection::new(config.clone()).unwrap();
            let mut stream = Stream::new(&mut session, &mut connection);
            // A client that refuses the certificate has gone by then.
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(b"HTTP/1.1 204 fine\r\nconnection: close\r\n\r\n"));
            session.send_close_notify();
            let _ = session.write_tls(&mut connection);
        }
    });
    port.to_string()
}

/// What each client says of the server on this port, taken for `host`, when it trusts this file.
pub(crate) fn all(host: &str, port: &str, roots: &str) -> Vec<(&'static str, Said)> {
    let authority = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let (to, url) = (format!("{authority}:{port}:127.0.0.1:{port}"), format!("https://{authority}:{port}/"));
    vec![
        ("curl", run("curl", &["-q", "-sS", "--noproxy", "*", "--max-time", "20", "--cacert", roots, "--connect-to", &to, &url])),
        ("python3", run("python3", &["-c", PYTHON, host, port, roots])),
        ("node", run("node", &["-e", NODE, "--", host, port, roots])),
    ]
}

#[test]
fn real_clients_accept_a_leaf_for_a_name_and_for_addresses_of_both_families() {
    let place = Place::new(&[SERVER, "10.77.1.2", "fd00::7"]);
    place.ca(&["init"]).ok();
    let root = place.root("root.pem");
    for host in [SERVER, "10.77.1.2", "fd00::7"] {
        let port = serve(place.authority().leaf(host).unwrap());
        for (client, said) in all(host, &port, &root) {
            assert!(said.is_fine(), "{client} {host}: {said:?}");
        }
    }
}

/// A thief of the key is limited to the governed hosts.
#[test]
fn real_clients_refuse_what_lies_outside_the_name_constraints() {
    for (governed, outside) in [
        (&[SERVER][..], &[OTHER, "10.77.1.2", "fd00::7"][..]),
        (&["10.77.1.2"], &["10.77.1.3", SERVER]),
        (&["fd00::7"], &["fd00::8", "10.77.1.2"]),
    ] {
        let place = Place::new(governed);
        place.ca(&["init"]).ok();
        let root = place.root("root.pem");
        for (host, is_inside) in governed.iter().map(|host| (host, true)).chain(outside.iter().map(|host| (host, false))) {
            let forged = place.forge(host);
            let (leaf, chain) = (place.write("leaf.der", &forged.cert[0]), place.chain("chain.pem", &forged));
            let openssl = place.openssl(&["verify", "-purpose", "sslserver", "-CAfile", &root, "-untrusted", &chain, &leaf]);
            assert_eq!(openssl.is_fine(), is_inside, "{governed:?} {host}: {openssl:?}");
            assert!(is_inside || openssl.err.contains("subtree violation"), "{governed:?} {host}: {openssl:?}");
            let port = serve(Arc::new(forged));
            for (client, said) in all(host, &port, &root) {
                assert_eq!(said.is_fine(), is_inside, "{client}, {governed:?} {host}: {said:?}");
                let why = said.err.to_ascii_lowercase();
                assert!(is_inside || why.contains("subtree violation") || why.contains("subtree_violation"), "{client} {host}: {said:?}");
            }
        }
    }
}
