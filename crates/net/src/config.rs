//! The settings of a set of connections, under Kafka's names and with the defaults of Kafka's producer.

use crate::Backoff;

/// Settings of a [`Network`](crate::Network): all its connections share them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetConfig {
    /// `client.id`, sent in the request headers that this crate writes itself.
    pub client_id: Option<String>,
    /// `request.timeout.ms` (default 30000): how long a request may be with a connection, throttled time not counted (SND-4).
    pub request_timeout_ms: u64,
    /// `max.in.flight.requests.per.connection` (default 5): unanswered requests of any kind per connection (SND-1). At least 1.
    pub max_in_flight: usize,
    /// `connections.max.idle.ms` (default 540000): a connection without traffic for so long is closed (CON-5). `None` = never.
    pub connections_max_idle_ms: Option<u64>,
    /// `reconnect.backoff.ms` (default 50): the wait after the first failure of a connection (CON-4).
    pub reconnect_backoff_ms: u64,
    /// `reconnect.backoff.max.ms` (default 1000): the waits double up to this.
    pub reconnect_backoff_max_ms: u64,
    /// `socket.connection.setup.timeout.ms` (default 10000): how long the first attempt to connect may take (CON-3).
    pub socket_connection_setup_timeout_ms: u64,
    /// `socket.connection.setup.timeout.max.ms` (default 30000): the time doubles per failed attempt up to this.
    pub socket_connection_setup_timeout_max_ms: u64,
    /// `send.buffer.bytes` (default 131072): SO_SNDBUF; -1 = the system's default (CON-1).
    pub send_buffer_bytes: i32,
    /// `receive.buffer.bytes` (default 32768): SO_RCVBUF; -1 = the system's default (CON-1).
    pub receive_buffer_bytes: i32,
    /// The name told to brokers in ApiVersions: letters, digits, `.` and `-`, beginning and ending with a letter or digit, or
    /// the broker refuses the connection.
    pub client_software_name: String,
    /// The version told to brokers in ApiVersions, of the same characters.
    pub client_software_version: String,
    /// The longest response taken, in bytes (default 100 MiB). A longer one ends the connection (CON-9).
    pub max_response_bytes: usize,
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            client_id: None,
            request_timeout_ms: 30_000,
            max_in_flight: 5,
            connections_max_idle_ms: Some(540_000),
            reconnect_backoff_ms: 50,
            reconnect_backoff_max_ms: 1_000,
            socket_connection_setup_timeout_ms: 10_000,
            socket_connection_setup_timeout_max_ms: 30_000,
            send_buffer_bytes: 131_072,
            receive_buffer_bytes: 32_768,
            client_software_name: "rohrpost".into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
            max_response_bytes: 100 * 1024 * 1024,
        }
    }
}

impl NetConfig {
    /// CON-4: the wait before a connection is tried again.
    pub(crate) fn reconnect_backoff(&self) -> Backoff {
        Backoff::new(self.reconnect_backoff_ms, self.reconnect_backoff_max_ms)
    }

    /// CON-3: how long an attempt may take.
    pub(crate) fn setup_timeout(&self) -> Backoff {
        Backoff::new(self.socket_connection_setup_timeout_ms, self.socket_connection_setup_timeout_max_ms)
    }
}
