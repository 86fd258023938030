//! Exit codes of every applet, after sysexits(3), as scripts may rely on them.

/// Done.
pub const OK: u8 = 0;
/// Something failed, and no other code says it better.
pub const FAILURE: u8 = 1;
/// The command line can't be understood.
pub const USAGE: u8 = 64;
/// A service that is needed can't be reached or does not work.
pub const UNAVAILABLE: u8 = 69;
/// It did not work this time; running the same command again may succeed.
pub const TRY_AGAIN: u8 = 75;
/// Not allowed: wrong user, or a refused token or certificate.
pub const DENIED: u8 = 77;
/// A configuration file or value is wrong.
pub const CONFIG: u8 = 78;
