//! Whatever a file holds, it is understood or refused.

use proptest::prelude::*;

use super::*;

/// Pieces of which inventories, good and bad, are put together.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "bench = ",
        "[vms]\n",
        "addresses = ",
        "prefix = ",
        "[ssh]\n",
        "config = ",
        "[[host]]\n",
        "[host.service]\n",
        "[host]\n",
        "name = ",
        "ssh = ",
        "folder = ",
        "bridge = ",
        "source = ",
        "address = ",
        "\"a\"\n",
        "\"b\"\n",
        "\"10.0.0.1\"\n",
        "\"10.0.0.1-10.0.0.9\"\n",
        "\"255.255.255.255-0.0.0.0\"\n",
        "\"ssh://a@[:1\"\n",
        "24\n",
        "-1\n",
        "false\n",
        "[]\n",
        "{ }\n",
        "\"ä\"\n",
        "[[host]]\nname = \"a\"\nssh = \"a\"\n",
        "[[host]]\nname = \"b\"\nssh = \"b\"\n",
    ];
    prop_oneof![8 => proptest::sample::select(pieces.map(str::to_owned).to_vec()), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = parse(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn arbitrary_pieces_of_inventories_are_understood_or_refused(pieces in proptest::collection::vec(piece(), 0..20)) {
        match parse(&pieces.concat()) {
            Ok(inventory) => prop_assert!(inventory.route().is_some()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn whatever_is_taken_for_a_destination_is_one_word_and_no_option(ssh in "[-a-z@:/\\[\\]'$. 0-9]{0,12}") {
        let text = two_hosts("", &format!("name = \"host-a\"\nssh = \"{ssh}\""));
        if let Ok(inventory) = parse(&text) {
            let ssh = &inventory.hosts[0].ssh;
            prop_assert!(!ssh.is_empty() && !ssh.starts_with('-') && !ssh.contains("@-") && !ssh.contains([' ', '\'']));
        }
    }
}
