//! Being built.

pub mod egress;
pub mod tool;
