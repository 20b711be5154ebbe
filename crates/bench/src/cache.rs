//! Where kernels, initial file systems and templates are kept between runs.

use std::path::PathBuf;

/// The cache's folder: `$DUNLIN_CACHE`, else `$XDG_CACHE_HOME/dunlin`, else `~/.cache/dunlin`.
#[must_use]
pub fn cache_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("DUNLIN_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("dunlin")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/dunlin")))
        .unwrap_or_else(|| std::env::temp_dir().join("dunlin-cache"))
}
