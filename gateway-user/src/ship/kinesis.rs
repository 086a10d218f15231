//! One request to Kinesis, and what its answer means.

use aws_config::{
    BehaviorVersion, Region, retry::RetryConfig, stalled_stream_protection::StalledStreamProtectionConfig, timeout::TimeoutConfig,
};
use aws_sdk_kinesis::{
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::PutRecordsRequestEntry,
};

use super::{ShipError, ShipOptions};

pub(super) struct Client {
    inner: aws_sdk_kinesis::Client,
    stream: String,
    region: String,
    key: String,
}

impl Client {
    pub(super) async fn new(options: &ShipOptions) -> Result<Client, ShipError> {
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(options.timeout)
            .connect_timeout(options.timeout.min(std::time::Duration::from_secs(5)));
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(options.outbound.aws())
            // Trying again is the shipper's work: it knows what the order allows.
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts.build());
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(url) = &options.endpoint_url {
            loader = loader.endpoint_url(url);
        }
        let config = loader.load().await;
        let Some(region) = config.region().map(ToString::to_string) else {
            return Err(ShipError::NoRegion { stream: options.stream.clone() });
        };
        let inner = aws_sdk_kinesis::Client::new(&config);
        Ok(Client { inner, stream: options.stream.clone(), region, key: options.log.as_str().to_owned() })
    }

    /// Sends one entry.
    ///
    /// # Errors
    /// Unless the stream has acknowledged it: why not. It may have arrived all the same.
    pub(super) async fn send(&self, data: Vec<u8>) -> Result<(), String> {
        let entry = PutRecordsRequestEntry::builder().data(Blob::new(data)).partition_key(&self.key).build();
        let entry = entry.map_err(|error| error.to_string())?;
        let answer =
            self.inner.put_records().stream_name(&self.stream).records(entry).send().await.map_err(|error| self.explain(&error))?;
        match answer.records() {
            [record] => match (record.error_code(), record.sequence_number()) {
                (Some(code), _) => Err(format!(
                    "stream {} did not take the entry: {code}: {}",
                    self.stream,
                    record.error_message().unwrap_or("no reason given")
                )),
                (None, Some(_)) => Ok(()),
                (None, None) => Err(self.nonsense("without saying what became of the entry")),
            },
            records => Err(self.nonsense(&format!("about {} entries, and one was sent", records.len()))),
        }
    }

    fn nonsense(&self, what: &str) -> String {
        format!("Kinesis answered {what} (stream {}); is the endpoint really Kinesis?", self.stream)
    }

    fn explain<E>(&self, error: &SdkError<E>) -> String
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Client { stream, region, .. } = self;
        match error {
            SdkError::ServiceError(answer) => match (answer.err().code(), answer.err().message().unwrap_or("no reason given")) {
                (Some("ResourceNotFoundException"), message) => {
                    format!("stream {stream} does not exist in {region}: {message}")
                }
                (Some(code), message) => format!("stream {stream} in {region}: {code}: {message}"),
                (None, _) => self.nonsense(&format!("with status {} and no error code", answer.raw().status())),
            },
            SdkError::ResponseError(_) => self.nonsense("what cannot be read"),
            SdkError::TimeoutError(_) => {
                format!("no answer from Kinesis in time (stream {stream} in {region}); it may have arrived all the same")
            }
            other => format!("Kinesis could not be asked (stream {stream} in {region}): {}", DisplayErrorContext(other)),
        }
    }
}
