//! Writing Kafka's primitive types, for the encoders that are written by hand.
