//! The forms that values of an inventory have.
//!
//! What ends up in the name of a file, on a command line or in a remote shell is held to what is harmless there.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::HERE;
use crate::toml_file::{self, Leaf, Node, ProblemKind, Value, impossible, wrong_type};

/// What messages, captures and files call something else by.
const RESERVED: [&str; 3] = ["bench", "switch", HERE];
/// The longest name of a host.
const NAME_MAX: usize = 63;
/// The longest name of a network device (the kernel's `IFNAMSIZ`, less the zero at its end).
const DEVICE_MAX: usize = 15;
/// The longest prefix that leaves addresses to hosts.
const PREFIX_MAX: u8 = 30;
/// Characters that ssh takes in no host's name (`valid_hostname` in its `ssh.c`).
const NOT_IN_HOSTS: &str = "'`\"$\\;&<>|(){}";
/// Characters that it takes in no user's name (`valid_ruser`).
const NOT_IN_USERS: &str = "'`\";&<>|(){}";

type Form<T> = Result<T, ProblemKind>;

pub(super) fn host_name(node: &Node) -> Form<String> {
    let name =
        text(node, "1 to 63 letters, digits, \".\", \"_\" and \"-\", a letter or digit first", |name| {
            let safe = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
            name.len() <= NAME_MAX
                && name.starts_with(|first: char| first.is_ascii_alphanumeric())
                && name.chars().all(safe)
        })?;
    if RESERVED.contains(&name.as_str()) {
        return Err(impossible("another name than \"bench\", \"switch\" and \"here\"", node));
    }
    Ok(name)
}

/// What `bench` takes; whether there is such a host is another question.
pub(super) fn bench(node: &Node) -> Form<String> {
    text(node, "\"here\" or the name of a host", |name| !name.is_empty())
}

/// Whatever ssh(1) takes for a destination, and that it never takes for an option: `[USER@]HOST`, `ssh://[USER@]HOST[:PORT]`.
pub(super) fn ssh_destination(node: &Node) -> Form<String> {
    text(
        node,
        "a destination as ssh takes it, \"[USER@]HOST\" or \"ssh://[USER@]HOST[:PORT]\"",
        |destination| {
            if destination.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
                return false;
            }
            let (rest, is_uri) = match destination.strip_prefix("ssh://") {
                Some(rest) => (rest, true),
                None => (destination, false),
            };
            // Where there are several it is the last, but the first in a URI.
            let parts = if is_uri { rest.split_once('@') } else { rest.rsplit_once('@') };
            let (user, host) = parts.map_or((None, rest), |(user, host)| (Some(user), host));
            let host = if is_uri { without_port(host) } else { Some(host) };
            let user_fits = user.is_none_or(|user| fits_ssh(user, NOT_IN_USERS) && !user.ends_with('\\'));
            user_fits && host.is_some_and(|host| fits_ssh(host, NOT_IN_HOSTS))
        },
    )
}

fn fits_ssh(word: &str, excluded: &str) -> bool {
    !word.is_empty() && !word.starts_with('-') && !word.chars().any(|letter| excluded.contains(letter))
}

/// The host of a URI's `HOST[:PORT]`, if the port can be one and nothing follows.
fn without_port(host: &str) -> Option<&str> {
    let host = host.strip_suffix('/').unwrap_or(host);
    let (host, port) = match (host.strip_prefix('['), host.rsplit_once(':')) {
        // An IPv6 address stands in brackets.
        (Some(inner), _) => {
            let (address, rest) = inner.split_once(']')?;
            (address, rest.strip_prefix(':').or_else(|| rest.is_empty().then_some("22"))?)
        }
        (None, Some((host, port))) => (host, port),
        (None, None) => (host, "22"),
    };
    let fits =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    (fits && !host.contains('/')).then_some(host)
}

pub(super) fn one_of(node: &Node, words: &[&str]) -> Form<String> {
    text(node, &toml_file::one_of(words), |word| words.contains(&word))
}

pub(super) fn flag(node: &Node) -> Form<bool> {
    node.as_bool().ok_or_else(|| wrong_type("true or false", node))
}

/// A local path.
pub(super) fn path(node: &Node) -> Form<PathBuf> {
    text(node, "a path without control characters", |path| !path.is_empty() && is_one_line(path))
        .map(PathBuf::from)
}

/// A path of a host.
pub(super) fn absolute_path(node: &Node) -> Form<PathBuf> {
    let fits = |path: &str| path.starts_with('/') && is_one_line(path);
    text(node, "an absolute path without control characters", fits).map(PathBuf::from)
}

/// The one path that stands in a command line of a host's shell: nothing in it may mean anything there.
pub(super) fn plain_folder(node: &Node) -> Form<PathBuf> {
    let expected = "an absolute path of letters, digits, \"/\", \".\", \"_\" and \"-\" (a shell of the host gets to see it)";
    let safe = |letter: char| letter.is_ascii_alphanumeric() || "/._-".contains(letter);
    text(node, expected, |path| path.starts_with('/') && path.chars().all(safe)).map(PathBuf::from)
}

/// A network device's name, as the kernel's `dev_valid_name` has it; and no control characters, which it would take.
pub(super) fn device(node: &Node) -> Form<String> {
    let expected = "a network device's name: 1 to 15 bytes, no spaces, \"/\" or \":\", not \".\" or \"..\"";
    text(node, expected, |name| {
        let unsafe_letter =
            |letter: char| letter.is_whitespace() || letter.is_control() || "/:".contains(letter);
        (1..=DEVICE_MAX).contains(&name.len())
            && ![".", ".."].contains(&name)
            && !name.contains(unsafe_letter)
    })
}

/// Text that is not empty, of one line.
pub(super) fn line(node: &Node) -> Form<String> {
    text(node, "text that is not empty, without control characters", |text| {
        !text.trim().is_empty() && is_one_line(text)
    })
}

/// An address that a host can have.
pub(super) fn address(node: &Node) -> Form<Ipv4Addr> {
    const EXPECTED: &str = "a host's IPv4 address as in \"192.0.2.11\"";
    let text = text(node, EXPECTED, |_| true)?;
    hosts_address(&text).ok_or_else(|| impossible(EXPECTED, node))
}

/// The first and the last address of a range, or one that is both.
pub(super) fn range(node: &Node) -> Form<(Ipv4Addr, Ipv4Addr)> {
    const EXPECTED: &str = "a range of IPv4 addresses as in \"192.0.2.100-192.0.2.119\", or one of them";
    let text = text(node, EXPECTED, |_| true)?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let range = hosts_address(first.trim()).zip(hosts_address(last.trim()));
    range.ok_or_else(|| impossible(EXPECTED, node))
}

fn hosts_address(text: &str) -> Option<Ipv4Addr> {
    let address: Ipv4Addr = text.parse().ok()?;
    let nobodys = address.is_unspecified() || address.is_multicast() || address.is_broadcast();
    (!nobodys).then_some(address)
}

pub(super) fn prefix(node: &Node) -> Form<u8> {
    match &node.value {
        Value::Leaf(Leaf::Integer(length)) => u8::try_from(*length)
            .ok()
            .filter(|length| (1..=PREFIX_MAX).contains(length))
            .ok_or_else(|| impossible("1 to 30 bits", node)),
        _ => Err(wrong_type("a whole number of bits", node)),
    }
}

fn text(node: &Node, expected: &str, fits: impl FnOnce(&str) -> bool) -> Form<String> {
    match node.text() {
        Some(text) if fits(text) => Ok(text.to_owned()),
        Some(_) => Err(impossible(expected, node)),
        None => Err(wrong_type("text", node)),
    }
}

fn is_one_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}
