//! `dunlin cache list|prune`: what is kept between runs, and how large it is.

use dunlin_guest::{Cached, cache_contents, default_cache_dir, prune_cache};
use dunlin_report::{Table, count, number, wrapped};

use super::guest_failure;
use crate::failure::Result;
use crate::terminal;

/// Look at what is kept between runs, or remove it.
#[derive(Clone, Copy, clap::Subcommand)]
pub(crate) enum Action {
    /// Say where the cache is, what it holds and how large that is
    List,
    /// Remove what is made again by itself: guests' images, templates of booted guests, memos of what was tried
    ///
    /// Kernels that were fetched stay, as does what nobody knows. The next run boots its guests once more.
    Prune,
}

pub(crate) fn run(action: Action) -> Result {
    let done = || {
        let cache = default_cache_dir()?;
        Ok(match action {
            Action::List => list(&cache.display().to_string(), &cache_contents(&cache)?),
            Action::Prune => {
                let (files, bytes) = prune_cache(&cache)?;
                format!(
                    "removed {} ({} MB) from {}\n",
                    count(files, "file"),
                    megabytes(bytes),
                    cache.display()
                )
            }
        })
    };
    terminal::print(&done().map_err(|error| guest_failure(&error))?)
}

fn list(cache: &str, contents: &[Cached]) -> String {
    let mut table = Table::new().key("name").figure("files").figure("MB").words("prune");
    for cached in contents {
        let prune = if cached.is_made_again { "removes it" } else { "keeps it" };
        table.row([cached.name.clone(), cached.files.to_string(), megabytes(cached.bytes), prune.into()]);
    }
    let width = terminal::width();
    let all: u64 = contents.iter().map(|cached| cached.bytes).sum();
    let sum = format!(
        "{} MB in {cache} ($DUNLIN_CACHE, else $XDG_CACHE_HOME/dunlin, else ~/.cache/dunlin)",
        megabytes(all)
    );
    format!("{}\n{}", table.text(width), wrapped(&sum, width, "  "))
}

fn megabytes(bytes: u64) -> String {
    number(bytes as f64 / 1e6)
}
