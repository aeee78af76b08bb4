//! The `flowd` program.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The allocator asks for huge pages. What is free between two buffers would then be resident with them: 50 MiB and
    // more, at the same speed. Where the kernel knows no such switch it is as it is.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    flowd::main(std::env::args_os())
}
