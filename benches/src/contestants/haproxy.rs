//! haproxy as a plain reverse proxy, with `option httplog` into a file: its standard output.

use std::{fs, path::Path};

use gateway_tests::Launch;

use super::{Contestant, reverse_proxy};
use crate::{connection::HOST, upstream::Upstream};

pub(super) fn start(upstream: &Upstream, program: &Path, secure: bool) -> anyhow::Result<Contestant> {
    let (bind, verify, to) = if secure {
        let (issued, ca) = (&upstream.issued, upstream.pki.ca_file());
        let shown = ca.with_file_name("haproxy.pem");
        fs::write(&shown, [fs::read(&issued.certificate)?, fs::read(&issued.key)?].concat())?;
        let verify = format!("ssl verify required ca-file {} sni str({HOST})", ca.display());
        (format!("ssl crt {}", shown.display()), verify, upstream.https)
    } else {
        (String::new(), String::new(), upstream.http)
    };
    let configuration = |address, _: &Path| {
        format!(
            "global
                 maxconn 4096
                 log stdout format raw local0
             defaults
                 mode http
                 log global
                 option httplog
                 timeout connect 5s
                 timeout client 50s
                 timeout server 50s
             frontend clients
                 bind {address} {bind}
                 default_backend server
             backend server
                 server server {to} {verify}
"
        )
    };
    reverse_proxy(upstream, secure, configuration, |_, file| Launch::new(program).args(["-db", "-f"]).arg(file))
}
