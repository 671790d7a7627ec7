//! Consumer groups and their offsets as state machines without I/O, clock or randomness.
