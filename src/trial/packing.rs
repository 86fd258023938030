//! Files packed with gzip, in a build that can.

use crate::system::gzip;

/// None in a build that can't.
pub fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    Some(gzip::pack(bytes))
}

/// None when it is damaged, or longer than `limit`.
pub fn unpack(bytes: &[u8], limit: usize) -> Option<Vec<u8>> {
    gzip::unpack(bytes, limit).ok()
}
