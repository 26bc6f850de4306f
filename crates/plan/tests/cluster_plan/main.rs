//! The operator's plan, against a world that applies it as an API server would.

mod conditions;
mod overrides;
mod ownership;
mod properties;
mod router_ids;
mod world;
