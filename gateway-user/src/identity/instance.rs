//! The role of the EC2 instance that this host is, from its metadata service (IMDSv2).

use std::{sync::Arc, time::Duration};

use aws_config::{imds, provider_config::ProviderConfig};

use super::Identities;
use crate::outbound::Outbound;

/// A role can be taken away from a running instance.
const REFRESH: Duration = Duration::from_secs(60);
/// Under the name of the role in this folder, its credentials are handed out. Only the name is asked for.
const ROLE: &str = "/latest/meta-data/iam/security-credentials/";

/// Keeps up with the role, for as long as the gateway runs. While it cannot be asked, no workload that depends on it is known.
pub async fn keep_up(identities: Arc<Identities>, outbound: Outbound) {
    let provider = ProviderConfig::default().with_http_client(outbound.aws());
    let client = imds::Client::builder().configure(&provider).build();
    let mut before = None;
    loop {
        let role = match client.get(ROLE).await {
            Ok(listed) => listed.as_ref().lines().next().map(str::trim).filter(|role| !role.is_empty()).map(str::to_owned),
            Err(error) => {
                let cause = aws_sdk_kinesis::error::DisplayErrorContext(&error);
                tracing::warn!("the instance's metadata service does not say which role this host has: {cause}");
                None
            }
        };
        if role != before {
            tracing::info!(role, "the role of this instance, by its metadata service");
            before.clone_from(&role);
        }
        identities.workloads.has_role(role);
        tokio::time::sleep(REFRESH).await;
    }
}
