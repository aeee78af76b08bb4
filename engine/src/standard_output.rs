//! Standard output as a place for lines. One writer has it; nothing else may write to it from then on.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use crate::failure::Failure;

/// A terminal or pipe may be in non-blocking mode by somebody else's doing; it is asked again after this.
const BUSY_WAIT: Duration = Duration::from_millis(5);

/// A file of our own on the same descriptor: std's line buffer would only copy.
///
/// # Errors
/// `Unusable`: there is none.
pub fn open() -> Result<File, Failure> {
    let descriptor = io::stdout().as_fd().try_clone_to_owned();
    let unusable = |error| Failure::Unusable(format!("standard output cannot be used: {error}"));
    descriptor.map(File::from).map_err(unusable)
}

/// Writes all of it.
///
/// # Errors
/// `Fatal`: the reader is gone, or what the system says.
pub fn write_all(output: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    write(output, bytes).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::Fatal("standard output was closed by its reader".to_owned()),
        _ => Failure::Fatal(format!("cannot write to standard output: {error}")),
    })
}

fn write(output: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match output.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BUSY_WAIT),
            Err(error) => return Err(error),
        }
    }
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time, and first says twice that it is busy.
    struct Busy(Vec<u8>, usize);

    impl Write for Busy {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            match self.1 {
                1 => Err(ErrorKind::WouldBlock.into()),
                2 => Err(ErrorKind::Interrupted.into()),
                _ => {
                    let size = bytes.len().min(3);
                    self.0.extend_from_slice(&bytes[..size]);
                    Ok(size)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_busy_terminal_is_asked_again_and_gets_every_byte() {
        let mut busy = Busy(Vec::new(), 0);
        write_all(&mut busy, b"{\"a\":1}\n").unwrap();
        assert_eq!(busy.0, b"{\"a\":1}\n");
    }

    #[test]
    fn a_reader_that_is_gone_ends_it_by_name() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        let failure = write_all(&mut writer, b"1\n").unwrap_err();
        assert_eq!(failure, Failure::Fatal("standard output was closed by its reader".to_owned()));
    }
}
