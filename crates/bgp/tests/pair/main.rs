//! Whole speakers against each other, and against bytes no speaker would send, on a virtual clock.

mod collision;
mod configuration;
mod conversation;
mod faults;
mod learned;
mod opening;
mod protocol;
mod random;
mod restart;
mod simulation;
