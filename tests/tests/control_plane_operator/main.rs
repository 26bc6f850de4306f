//! The operator, as a process of its own, on a real API server: what it writes, when, and how little.

mod election;
mod faults;
mod flows;
mod scale;
