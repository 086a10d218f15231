//! Envoy as a plain reverse proxy, with its access log in its default format.

use std::path::Path;

use gateway_tests::Launch;

use super::{Contestant, reverse_proxy};
use crate::upstream::Upstream;

pub(super) fn start(upstream: &Upstream, program: &Path) -> anyhow::Result<Contestant> {
    let address = |of: std::net::SocketAddr| format!("{{ socket_address: {{ address: {}, port_value: {} }} }}", of.ip(), of.port());
    let types = "type.googleapis.com/envoy.extensions";
    let configuration = |at, dir: &Path| {
        format!(
            r#"
static_resources:
  listeners:
  - address: {listen}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {types}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          access_log:
          - name: envoy.access_loggers.file
            typed_config: {{ "@type": {types}.access_loggers.file.v3.FileAccessLog, path: {log} }}
          route_config:
            virtual_hosts:
            - name: server
              domains: ["*"]
              routes: [{{ match: {{ prefix: / }}, route: {{ cluster: server, timeout: 0s }} }}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{ "@type": {types}.filters.http.router.v3.Router }}
  clusters:
  - name: server
    type: STATIC
    load_assignment:
      cluster_name: server
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {server} }} }}] }}]
"#,
            listen = address(at),
            log = dir.join("requests").display(),
            server = address(upstream.http),
        )
    };
    let launch = |_: &Path, file: &Path| {
        Launch::new(program).args(["--use-dynamic-base-id", "--log-level", "warning", "--concurrency", &cores(), "--config-path"]).arg(file)
    };
    reverse_proxy(upstream, false, configuration, launch)
}

fn cores() -> String {
    std::thread::available_parallelism().map_or(1, usize::from).to_string()
}
