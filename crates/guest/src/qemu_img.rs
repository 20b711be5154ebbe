//! Images for guests' disks in QEMU's own layout, made and read by its `qemu-img`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_record::ImageFormat;
use serde::Deserialize;

use crate::cache::Workshop;
use crate::command::run;
use crate::{GuestError, Result};

const QEMU_IMG: &str = "qemu-img";
const ADVICE: &str = "run `apt-get install qemu-utils` (on Debian 12 from the same suite as QEMU)";
/// Making an image without content, or reading about one.
const SHORT_LIMIT: Duration = Duration::from_secs(30);
/// Copying one: some 20 MB/s for the largest that is sensible here.
const COPY_LIMIT: Duration = Duration::from_secs(1800);

/// What an image says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// How it is laid out.
    pub format: ImageFormat,
    /// What a guest could put on it.
    pub virtual_size_bytes: u64,
}

/// What `qemu-img info --output=json` says, as far as it matters.
#[derive(Deserialize)]
struct Told {
    format: String,
    #[serde(rename = "virtual-size")]
    virtual_size: u64,
}

/// Where the program is that makes images in QEMU's own layout.
///
/// # Errors
/// Where it is not installed.
pub fn find_qemu_img() -> Result<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|dir| dir.join(QEMU_IMG)).find(|file| file.is_file());
    found.ok_or_else(|| GuestError::NoProgram { program: QEMU_IMG.into(), advice: ADVICE })
}

/// Looks at an image of the user's, and at those below it. Works in a folder that is gone afterwards, made in `folder`.
///
/// # Errors
/// Where it cannot be read, is damaged, lacks its backing file, or is neither raw nor qcow2.
pub fn image_info(image: &Path, folder: &Path) -> Result<ImageInfo> {
    let path = absolute(image)?;
    let refused = |why: String| GuestError::Image { image: image.to_owned(), why };
    let told = qemu_img(&["info", "--output=json", "--backing-chain", "-U", &path], folder, SHORT_LIMIT);
    let told = told.map_err(|error| match error {
        GuestError::Failed { said, .. } => refused(said),
        other => other,
    })?;
    let told: Vec<Told> = serde_json::from_str(&told).map_err(|error| refused(error.to_string()))?;
    let told = told.first().ok_or_else(|| refused(format!("{QEMU_IMG} says nothing of it")))?;
    let format = match told.format.as_str() {
        "raw" => ImageFormat::Raw,
        "qcow2" => ImageFormat::Qcow2,
        other => return Err(refused(format!("its format is {other}, expected raw or qcow2"))),
    };
    Ok(ImageInfo { format, virtual_size_bytes: told.virtual_size })
}

/// Writes what an image and those below it hold to a file in another layout; what was in that is gone. What is a hole stays
/// one.
///
/// # Errors
/// Where one cannot be read or the other not written.
pub fn convert_image(from: (&Path, ImageFormat), to: (&Path, ImageFormat), folder: &Path) -> Result<()> {
    let ((from, from_format), (to, to_format)) = (from, to);
    let (from, to) = (absolute(from)?, absolute(to)?);
    let arguments = ["convert", "-U", "-f", from_format.name(), "-O", to_format.name(), &from, &to];
    qemu_img(&arguments, folder, COPY_LIMIT).map(drop)
}

/// Makes a file a qcow2 image of this size that holds nothing.
///
/// # Errors
/// Where it cannot be written.
pub fn make_qcow2(file: &Path, size_mib: u32, folder: &Path) -> Result<()> {
    let (file, size) = (absolute(file)?, format!("{size_mib}M"));
    qemu_img(&["create", "-q", "-f", "qcow2", &file, &size], folder, SHORT_LIMIT).map(drop)
}

fn qemu_img(arguments: &[&str], folder: &Path, limit: Duration) -> Result<String> {
    let workshop = Workshop::open(folder)?;
    run(QEMU_IMG, arguments, workshop.path(), limit, ADVICE)
}

/// A path that `qemu-img` cannot take for a protocol's name, whatever it holds.
fn absolute(path: &Path) -> Result<String> {
    let absolute: PathBuf = std::path::absolute(path).map_err(GuestError::io("find", path))?;
    Ok(absolute.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    use super::*;

    fn has_qemu_img() -> bool {
        Command::new(QEMU_IMG).arg("--version").output().is_ok_and(|output| output.status.success())
    }

    #[test]
    fn what_an_image_holds_survives_both_layouts() {
        if !has_qemu_img() {
            return dunlin_test_support::skip(format!("{QEMU_IMG} is not installed"));
        }
        let dir = tempfile::tempdir().unwrap();
        // A name that is no protocol.
        let (raw, qcow2, back) = (dir.path().join("a:b"), dir.path().join("q"), dir.path().join("back"));
        let file = File::create(&raw).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[7; 8192], 5 << 20).unwrap();
        convert_image((&raw, ImageFormat::Raw), (&qcow2, ImageFormat::Qcow2), dir.path()).unwrap();
        let info = image_info(&qcow2, dir.path()).unwrap();
        assert_eq!(info, ImageInfo { format: ImageFormat::Qcow2, virtual_size_bytes: 64 << 20 });
        convert_image((&qcow2, ImageFormat::Qcow2), (&back, ImageFormat::Raw), dir.path()).unwrap();
        assert_eq!(fs::read(&raw).unwrap(), fs::read(&back).unwrap());
        assert_eq!(image_info(&back, dir.path()).unwrap().format, ImageFormat::Raw);
    }

    #[test]
    fn an_image_that_is_damaged_or_of_another_kind_is_refused_with_the_reason() {
        if !has_qemu_img() {
            return dunlin_test_support::skip(format!("{QEMU_IMG} is not installed"));
        }
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        make_qcow2(&image, 64, dir.path()).unwrap();
        // The version (docs/interop/qcow2.txt, "Header").
        File::options().write(true).open(&image).unwrap().write_all_at(&99u32.to_be_bytes(), 4).unwrap();
        let told = image_info(&image, dir.path()).unwrap_err().to_string();
        assert!(told.contains("version 99"), "{told}");
        let made = Command::new(QEMU_IMG).args(["create", "-q", "-f", "vmdk"]).arg(&image).arg("8M").output();
        if made.unwrap().status.success() {
            let told = image_info(&image, dir.path()).unwrap_err().to_string();
            assert!(told.contains("vmdk") && told.contains("qcow2"), "{told}");
        }
        let mut over = Command::new(QEMU_IMG);
        over.args(["create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", "gone"]).arg(&image).arg("64M");
        assert!(over.status().unwrap().success());
        let told = image_info(&image, dir.path()).unwrap_err().to_string();
        assert!(told.contains("gone") && told.contains("No such file"), "{told}");
        let told = image_info(&dir.path().join("none"), dir.path()).unwrap_err().to_string();
        assert!(told.contains("No such file"), "{told}");
    }
}
