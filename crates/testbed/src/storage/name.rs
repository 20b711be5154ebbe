//! What may be said to a server of storage: names and folders that mean nothing but themselves to any of them.

use std::path::{Component, Path};

use crate::{Result, TestbedError};

/// The longest name of an export; a target's, with what comes before it, may have 223 bytes (RFC 3720, section 3.2.6.1).
const NAME_BYTES: usize = 64;

/// Fails where an export cannot have this name: as a part of an IQN it may have small letters, digits, `-` and `.`
/// (RFC 3722).
pub(super) fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && name.len() <= NAME_BYTES && name.bytes().all(fits) {
        return Ok(());
    }
    Err(TestbedError::Unsupported {
        what: format!("{name:?} as the name of an export"),
        because: format!(
            "it has 1 to {NAME_BYTES} small letters, digits, \"-\" and \".\", and begins with a letter or digit"
        ),
    })
}

/// Fails where a folder cannot be served: its path stands in a configuration as it is.
pub(super) fn check_folder(folder: &Path) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte);
    let is_plain = folder.as_os_str().as_encoded_bytes().iter().all(|byte| fits(*byte));
    if is_plain && folder.is_absolute() && goes_straight(folder) {
        return Ok(());
    }
    Err(TestbedError::Unsupported {
        what: format!("serving the folder {}", folder.display()),
        because: "its path is to be absolute, of letters, digits, \"-\", \".\" and \"_\", and without \"..\""
            .into(),
    })
}

/// Fails where an image does not lie in the folder; gives its path as text.
pub(super) fn check_image<'a>(image: &'a Path, folder: &Path) -> Result<&'a str> {
    let text = image.to_str().filter(|text| !text.contains(char::is_control));
    let lies_there = image.starts_with(folder) && image != folder && goes_straight(image);
    text.filter(|_| lies_there).ok_or_else(|| TestbedError::Unsupported {
        what: format!("serving the image {}", image.display()),
        because: format!("its path is to be text, in {} and without \"..\"", folder.display()),
    })
}

fn goes_straight(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn names_that_a_server_would_read_as_something_else_are_refused() {
        for name in ["a", "vm0-disk", "0.raw", &"x".repeat(64)] {
            check_name(name).unwrap();
        }
        for name in
            ["", "-x", ".x", "A", "a b", "a,b", "a\nb", "a;b", "a/1", "ä", "a:b", "\"", &"x".repeat(65)]
        {
            check_name(name).unwrap_err();
        }
    }

    #[test]
    fn folders_that_would_end_a_line_of_a_configuration_are_refused() {
        check_folder(Path::new("/run/dunlin/storage/images-0")).unwrap();
        for folder in ["", "run", "/a b", "/a;", "/a\"", "/a}", "/a#", "/a\nb", "/a/../b"] {
            check_folder(Path::new(folder)).unwrap_err();
        }
    }

    #[test]
    fn images_lie_in_the_folder() {
        let folder = Path::new("/images");
        assert_eq!(check_image(Path::new("/images/a b/ä.raw"), folder).unwrap(), "/images/a b/ä.raw");
        for image in
            ["/images", "/images/", "/imagesx/a", "/images/../etc/passwd", "images/a", "/images/a\nb"]
        {
            check_image(Path::new(image), folder).unwrap_err();
        }
        check_image(Path::new(OsStr::from_bytes(b"/images/\xff")), folder).unwrap_err();
    }
}
