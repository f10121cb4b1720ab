//! Large pages.
//!
//! A server with thousands of clients comes to each of them once a tick, and then to a few places each of whom it knows: far
//! more pages than the processor keeps the addresses of. glibc's allocator asks the system for large ones if it is told to
//! before the process begins; there is no other way to tell it. So the process starts itself anew, once: it then has
//! `ZONEWIRE_STARTED_ANEW` in its environment, and whoever sets that has it not start anew at all.

use std::path::Path;

/// What glibc reads, and what it is told: large pages, and one arena for all threads, since only the first can have them.
const TUNABLES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1");

/// Whether the allocator was told to ask for large pages.
pub fn has_huge_pages() -> bool {
    let told = std::env::var(TUNABLES.0).unwrap_or_default();
    cfg!(all(target_os = "linux", target_env = "gnu"))
        && told.split(':').any(|told| told.starts_with("glibc.malloc.hugetlb=") && !told.ends_with("=0"))
}

/// Starts this process anew, as the same process, so that its allocator asks for large pages. Returns where that is not
/// possible or was done before, where the allocator is told something else already, or where the configuration came through a
/// pipe, which cannot be read again.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn ask_for_huge_pages(configuration: Option<&Path>) {
    use std::os::unix::process::CommandExt as _;

    /// Says that this was done. Where a program has more rights than its user, the other variable does not reach it.
    const ANEW: &str = "ZONEWIRE_STARTED_ANEW";
    let (name, value) = TUNABLES;
    let read_once = configuration.is_some_and(|path| !path.is_file());
    if read_once || [name, ANEW].into_iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    // A program that was started through the loader is not known by its own name.
    if program.file_name().is_none_or(|name| name.to_string_lossy().starts_with("ld")) {
        return;
    }
    let mut arguments = std::env::args_os();
    let mut anew = std::process::Command::new(program);
    if let Some(called) = arguments.next() {
        anew.arg0(called);
    }
    // It returns only if it failed; then all goes on with small pages.
    let _ = anew.args(arguments).env(name, value).env(ANEW, "1").exec();
}

/// Another allocator, which nobody can tell.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn ask_for_huge_pages(_: Option<&Path>) {}
