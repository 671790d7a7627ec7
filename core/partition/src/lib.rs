//! One partition's owner as a state machine without I/O: recover, append, seal, producer state.
