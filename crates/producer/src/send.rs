//! Sending (stub).
