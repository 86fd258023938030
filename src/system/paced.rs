//! A socket to block on, which nobody on the other side can hold for ever.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// All of it, however little comes at a time.
    Within(Duration),
    /// However long it is, as long as a little comes in every such time: what drips more slowly is
    /// ended.
    Steady(Duration),
}

/// A socket on which nothing takes longer than its pace allows.
pub struct Paced {
    socket: TcpStream,
    until: Instant,
    pace: Pace,
    /// Bytes that came since the limit was last moved.
    earned: usize,
}

impl Paced {
    /// Its time begins now.
    pub fn new(socket: TcpStream, pace: Pace) -> Paced {
        let (Pace::Within(limit) | Pace::Steady(limit)) = pace;
        Paced {
            socket,
            until: Instant::now() + limit,
            pace,
            earned: 0,
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(left),
        }
    }

    fn earn(&mut self, count: usize) {
        if let Pace::Steady(limit) = self.pace {
            self.earned += count;
            if self.earned >= STEADY {
                self.earned = 0;
                self.until = Instant::now() + limit;
            }
        }
    }
}

impl Read for Paced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.socket.set_read_timeout(Some(self.left()?))?;
            match self.socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => {
                    self.earn(count);
                    return Ok(count);
                }
                Err(error) => return Err(timed_out(error)),
            }
        }
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(bytes).map_err(timed_out)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// A socket's own limit of time shows as "would block".
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}

/// Bytes that have to come within one time of `Pace::Steady`: 16 KiB in half a minute is what the
/// slowest modems carry.
const STEADY: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Both ends of a connection; ours takes `limit`.
    fn pair(pace: Pace) -> (Paced, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        (Paced::new(ours, pace), theirs)
    }

    #[test]
    fn silence_ends_either_pace() {
        let limit = Duration::from_millis(50);
        for pace in [Pace::Within(limit), Pace::Steady(limit)] {
            let (mut ours, mut theirs) = pair(pace);
            theirs.write_all(b"a").unwrap();
            assert_eq!(ours.read(&mut [0; 9]).unwrap(), 1);
            let error = ours.read(&mut [0; 9]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            // And stays so, for writing too.
            assert_eq!(
                ours.write(b"a").unwrap_err().kind(),
                io::ErrorKind::TimedOut
            );
        }
    }

    #[test]
    fn only_a_steady_one_earns_time() {
        let limit = Duration::from_secs(60);
        for (pace, earns) in [(Pace::Within(limit), false), (Pace::Steady(limit), true)] {
            let (mut ours, _theirs) = pair(pace);
            let before = ours.until;
            ours.earn(STEADY - 1);
            assert_eq!(ours.until, before);
            ours.earn(1);
            assert_eq!(ours.until > before, earns, "{pace:?}");
        }
    }
}
