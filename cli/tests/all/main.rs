//! The binary on real servers: what it prints, how it ends, what it leaves behind.
