//! VMs that exist already: how the command line names them.

use std::net::Ipv4Addr;

use dunlin_bench::Existing;
use dunlin_report::count;

use crate::failure::{Exit, Failure, Result};

/// A name as a product may give it: any text on one line.
pub(crate) fn name(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty".into()),
        text if text.contains(char::is_control) => Err("a name is text without control characters".into()),
        text => Ok(text.to_owned()),
    }
}

/// The VMs that are named, with the addresses that were given in their order.
pub(crate) fn of(names: &[String], addresses: &[Ipv4Addr]) -> Result<Vec<Existing>> {
    let bad = |message: String| Err(Failure::says(Exit::BadInput, message));
    if addresses.len() > names.len() {
        let (addresses, vms) = (addresses.len(), count(names.len(), "VM"));
        return bad(format!("{addresses} addresses (--vm-address) for {vms} (--vm)"));
    }
    if let Some((_, again)) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        return bad(format!("--vm names {again} twice"));
    }
    let mut addresses = addresses.iter().copied();
    Ok(names.iter().map(|name| Existing { name: name.clone(), address: addresses.next() }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_any_text_on_one_line() {
        for good in ["db", "größe 2", "../x", "$(reboot)", "-v"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a\nb", "\u{1b}[2J", "a\u{9b}"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_go_to_the_first_names_and_no_name_comes_twice() {
        let (names, address) = (["db", "web"].map(str::to_owned), Ipv4Addr::new(192, 0, 2, 7));
        let vms = of(&names, &[address]).unwrap();
        assert_eq!(vms.iter().map(|vm| vm.address).collect::<Vec<_>>(), [Some(address), None]);
        assert!(of(&names, &[address; 3]).is_err());
        assert!(of(&["db", "db"].map(str::to_owned), &[]).is_err());
    }
}
