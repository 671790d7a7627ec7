//! Simulated file system and power cuts: the real log, metadata and owner under seeded faults.
