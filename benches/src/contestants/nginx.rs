//! nginx as a plain reverse proxy, with its access log as Debian has it: combined, and each line written at once.

use std::path::Path;

use gateway_tests::Launch;

use super::{Contestant, reverse_proxy};
use crate::{connection::HOST, upstream::Upstream};

pub(super) fn start(upstream: &Upstream, program: &Path, secure: bool) -> anyhow::Result<Contestant> {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|what| format!("{what}_temp_path {what};\n")).concat();
    // Both sides do what the gateway does: towards the server, its name and authority are checked, and sessions are resumed.
    let tls = format!(
        "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:10m;
         proxy_ssl_verify on; proxy_ssl_trusted_certificate {}; proxy_ssl_name {HOST}; proxy_ssl_server_name on;
         proxy_ssl_session_reuse on; proxy_ssl_protocols TLSv1.2 TLSv1.3;",
        upstream.issued.certificate.display(),
        upstream.issued.key.display(),
        upstream.pki.ca_file().display()
    );
    let (ssl, scheme, tls, to) = if secure { (" ssl", "https", tls.as_str(), upstream.https) } else { ("", "http", "", upstream.http) };
    // Large answers and streams are compared unbuffered, as the gateway gives them: each piece as it comes.
    let pass = format!("proxy_pass {scheme}://server; proxy_http_version 1.1; proxy_set_header Connection \"\";");
    let configuration = |address, _: &Path| {
        format!(
            "daemon off; worker_processes auto; pid nginx.pid; error_log stderr;
             events {{ worker_connections 4096; }}
             http {{
                 access_log requests combined; keepalive_requests 1000000000; {temporary}
                 upstream server {{ server {to}; keepalive 256; keepalive_requests 1000000000; }}
                 server {{
                     listen {address}{ssl}; {tls}
                     location / {{ {pass} }}
                     location /mcp/1MiB {{ {pass} proxy_buffering off; }}
                     location /mcp/events {{ {pass} proxy_buffering off; }}
                 }}
             }}"
        )
    };
    reverse_proxy(upstream, secure, configuration, |dir, file| Launch::new(program).arg("-p").arg(dir).arg("-c").arg(file))
}
