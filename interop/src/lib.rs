//! Rohrpost beside Apache Kafka and foreign clients.
