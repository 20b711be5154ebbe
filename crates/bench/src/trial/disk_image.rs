//! What is on a guest's disk when it first sees it.

use std::fs::File;
use std::io;
use std::path::Path;

use dunlin_guest::{ImageInfo, convert_image, format_filled_disk, format_swap, image_info, make_qcow2};
use dunlin_image::Content;
use dunlin_record::{Disk, ImageFormat};
use dunlin_testbed::NamelessFile;

use crate::{BenchError, Result};

const MIB: u64 = 1 << 20;
/// What disks are filled with is the same in each trial.
const SEED: u64 = 14;

/// An image, and the one below it where there is one.
pub(super) struct Images {
    pub(super) own: NamelessFile,
    /// Raw, and never written again.
    pub(super) backing: Option<NamelessFile>,
}

/// Makes the images of a disk as it is asked for, in a local folder.
pub(super) fn disk_images(asked: &Disk, folder: &Path) -> Result<Images> {
    let raw = content(asked, folder)?;
    match (asked.format, asked.backing) {
        (ImageFormat::Raw, _) => Ok(Images { own: raw, backing: None }),
        (ImageFormat::Qcow2, true) => {
            Ok(Images { own: empty_image(asked.size_mib, asked.format, folder)?, backing: Some(raw) })
        }
        (ImageFormat::Qcow2, false) => {
            let own = NamelessFile::make_in(folder)?;
            convert_image((&raw.path(), ImageFormat::Raw), (&own.path(), asked.format), folder)?;
            Ok(Images { own, backing: None })
        }
    }
}

/// Makes the image of a swap space.
pub(super) fn swap_image(size_mib: u32, folder: &Path) -> Result<NamelessFile> {
    let file = NamelessFile::make_in(folder)?;
    format_swap(&file.path(), size_mib)?;
    Ok(file)
}

/// Makes an image that holds nothing.
pub(super) fn empty_image(size_mib: u32, format: ImageFormat, folder: &Path) -> Result<NamelessFile> {
    let file = NamelessFile::make_in(folder)?;
    match format {
        ImageFormat::Raw => file.resize(u64::from(size_mib) * MIB)?,
        ImageFormat::Qcow2 => make_qcow2(&file.path(), size_mib, folder)?,
    }
    Ok(file)
}

/// What the disk holds, as a raw image.
fn content(asked: &Disk, folder: &Path) -> Result<NamelessFile> {
    let raw = NamelessFile::make_in(folder)?;
    let size_bytes = u64::from(asked.size_mib) * MIB;
    let Some(image) = &asked.image else {
        let used_mib = asked.used_mib.unwrap_or(0);
        let bytes = u64::from(used_mib) * MIB;
        let compressible_percent = u8::try_from(asked.compressibility_percent).unwrap_or(100);
        let content = Content { seed: SEED, compressible_percent };
        let write = |file: &File| content.write(file, 0, bytes).map_err(io::Error::other);
        format_filled_disk(&raw.path(), asked.size_mib, folder, used_mib, write)?;
        return Ok(raw);
    };
    let format = fitting_image(image, asked.size_mib, folder)?;
    convert_image((image, format), (&raw.path(), ImageFormat::Raw), folder)?;
    raw.resize(size_bytes)?;
    Ok(raw)
}

/// How an image of the user's is laid out. Refuses one that cannot be read, or is larger than its disk.
pub(crate) fn fitting_image(image: &Path, size_mib: u32, folder: &Path) -> Result<ImageFormat> {
    let ImageInfo { format, virtual_size_bytes } = image_info(image, folder)?;
    if virtual_size_bytes > u64::from(size_mib) * MIB {
        return Err(BenchError::ImageTooLarge {
            image: image.to_owned(),
            virtual_size_mib: virtual_size_bytes.div_ceil(MIB),
            size_mib,
        });
    }
    Ok(format)
}
