//! The plan of addresses, against a world that applies it as an API server would.

mod allocation;
mod conditions;
mod conflicts;
mod incumbent;
mod ownership;
mod pool_edits;
mod properties;
mod requests;
mod restarts;
mod sharing;
mod world;
