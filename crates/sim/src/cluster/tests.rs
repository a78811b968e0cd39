//! The cluster by itself: what a naive client sees, and what the model promises.
