//! What a crash leaves behind: nothing, unless a developer asks for it.
//!
//! A core file is the whole memory of the process, and that holds tokens, keys and prompts. No care in the code can keep
//! them out of it, so the promise is that there is none: the soft limit on its size is zero, and on Linux the process
//! says of itself that it may not be dumped, which also holds where the system pipes cores to a program of its own, and
//! keeps other processes of the same user from reading its memory. What the user's own debugger could do before is what
//! `--allow-core-dumps` gives back. Windows has no such limit to set; what its error reporting keeps is its owner's choice.

/// Forbids them, as the first thing of all. What it cannot forbid it leaves as the system has it.
#[cfg(unix)]
pub(crate) fn forbid() {
    set_limit(Some(0));
    #[cfg(target_os = "linux")]
    set_dumpable(rustix::process::DumpableBehavior::NotDumpable);
}

/// Allows them again, as far as whoever started the program allows it.
#[cfg(unix)]
pub(crate) fn allow() {
    set_limit(rustix::process::getrlimit(rustix::process::Resource::Core).maximum);
    #[cfg(target_os = "linux")]
    set_dumpable(rustix::process::DumpableBehavior::Dumpable);
}

/// Of the soft limit only: a program that we start may raise its own again.
#[cfg(unix)]
fn set_limit(current: Option<u64>) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Core).maximum;
    let limit = Rlimit { current, maximum };
    // Lowering it, and raising it to its maximum, is always allowed.
    setrlimit(Resource::Core, limit).unwrap_or_default();
}

#[cfg(target_os = "linux")]
fn set_dumpable(behaviour: rustix::process::DumpableBehavior) {
    rustix::process::set_dumpable_behavior(behaviour).unwrap_or_default();
}

#[cfg(not(unix))]
pub(crate) fn forbid() {}

#[cfg(not(unix))]
pub(crate) fn allow() {}
