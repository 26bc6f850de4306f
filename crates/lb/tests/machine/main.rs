//! The load balancer's machine against maps in memory.

mod equals_wish;
mod maps;
mod reference;
mod room;
mod scale;
mod sentences;
mod wishes;
