//! Integration tests: the SDK against a scripted server, over the network emulator, on virtual time.

mod hostile;
mod rig;
mod session;
mod timing;
