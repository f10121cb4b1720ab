//! Integration tests: the SDK against a scripted server, over the network emulator, on virtual time.

mod host;
mod hostile;
mod play;
mod rig;
mod session;
mod timing;
