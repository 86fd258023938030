//! The executable: hands the command line to the table of applets.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(kubeedge::applet::run(std::env::args_os()))
}
