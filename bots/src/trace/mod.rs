//! Traces of connections as JSON lines, and pictures of them.
//!
//! The first line of a trace is a [`Header`], each further one a [`Record`]: its time in microseconds since the header's
//! reference time, its name, and its data. [`read`] takes a whole file, [`Summary`] counts, [`draw`] makes an SVG
//! timeline.

mod axis;
mod reader;
mod record;
mod summary;
mod svg;
mod timeline;

pub use reader::{Log, ReadError, read};
pub use record::{Carries, Event, FORMAT, Header, Record, Role};
pub use summary::Summary;
pub use timeline::draw;
