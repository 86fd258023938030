//! Prints when a file was changed, in seconds since 1970: `user.sh` shows it a file of the year 2040.

use std::time::UNIX_EPOCH;

fn main() {
    let path = std::env::args_os().nth(1).expect("a file is named");
    let changed = std::fs::metadata(path).and_then(|file| file.modified()).expect("it is there");
    match changed.duration_since(UNIX_EPOCH) {
        Ok(after) => println!("{}", after.as_secs()),
        Err(before) => println!("-{}", before.duration().as_secs()),
    }
}
