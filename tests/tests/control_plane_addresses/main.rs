//! LB IPAM of the operator, as a process of its own, on a real API server: which addresses Services get, what pools say,
//! and how little is written for it.

mod pools;
mod requests;
mod restarts;
mod scale;
mod tutorial;
