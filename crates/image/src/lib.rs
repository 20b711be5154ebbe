//! Disk images as files: where they hold something, what to fill them with, and how one travels over a byte stream.
//!
//! Knows no host and no VM.

mod content;
mod error;
mod extents;
mod stream;

pub use content::Content;
pub use error::{ImageError, Result};
pub use extents::{Extent, Extents, data_bytes, data_extents, has_data, is_zero};
pub use stream::{Received, Sent, StreamSettings, THREADS_MAX, receive, send};
