//! `config`: what an installation is made of.

mod images;

pub use images::LIST;
