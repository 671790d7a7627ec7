//! The segment store on one disk: segments, indexes, store journal, verify and dump.

pub mod fs;
