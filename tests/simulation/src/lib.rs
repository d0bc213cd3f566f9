//! millrace-simulation.
