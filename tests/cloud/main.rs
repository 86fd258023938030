//! cloudcore in this process: what it answers to recorded bytes, and to what was never recorded.

mod api;
mod nodes;
mod support;
mod tunnel;
