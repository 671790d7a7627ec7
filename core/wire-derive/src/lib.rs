//! Derive macro that turns one declaration of a Kafka message into its versioned codec.
