//! A disk in memory that loses power when told to.
