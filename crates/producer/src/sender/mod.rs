//! What leaves the accumulator, and what the answers mean.
