//! Large pages.
//!
//! A server with thousands of clients comes to each of them once a tick, and then to a few places each of whom it knows: far
//! more pages than the processor keeps the addresses of. glibc's allocator asks the system for large ones if it is told to
//! before the process begins; there is no other way to tell it.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::os::unix::process::CommandExt as _;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
use std::process::Command;

/// What glibc reads, and what it is told: large pages, and one arena for all threads, since only the first can have them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1");

/// Says that this was done. Where a program has more rights than its user, the other variable does not reach it.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ANEW: &str = "ZONEWIRE_STARTED_ANEW";

/// Starts this process anew, as the same process, so that its allocator asks for large pages. Returns where that is not
/// possible or was done before, or where the allocator is told something else already.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn ask_for_huge_pages() {
    let (name, value) = TUNABLES;
    if [name, ANEW].into_iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let Ok(program) = std::env::current_exe() else { return };
    let mut anew = Command::new(program);
    if let Some(called) = arguments.next() {
        anew.arg0(called);
    }
    // It returns only if it failed; then all goes on with small pages.
    let _ = anew.args(arguments).env(name, value).env(ANEW, "1").exec();
}

/// Another allocator, which nobody can tell.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn ask_for_huge_pages() {}
