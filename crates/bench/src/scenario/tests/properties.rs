//! Whatever a file holds, it is understood or refused.

use super::*;

/// Pieces of which scenarios, good and bad, are put together.
fn piece() -> impl proptest::strategy::Strategy<Value = String> {
    let words = [
        "name = \"x\"\n",
        "[[case]]\n",
        "[vm]\n",
        "[strategy]\n",
        "kind = \"hybrid\"\n",
        "after_passes = ",
        "vcpus = ",
        "memory_mib = ",
        "[probes]\n",
        "icmp = ",
        "[qemu]\n",
        "extra_args = ",
        "[workload]\n",
        "working_set_mib = ",
        "kind = \"memory-write\"\n",
        "true\n",
        "false\n",
        "512\n",
        "[1, 2]\n",
        "[[], [\"a\"]]\n",
        "{ }\n",
        "nan\n",
        "\"ä\"\n",
        "1e300\n",
        "[]\n",
        "case = ",
    ];
    prop_oneof![8 => proptest::sample::select(words.map(str::to_owned).to_vec()), 1 => any::<String>()]
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        let _ = Scenario::parse(&text, "s.toml").map_err(|error| error.to_string());
    }

    #[test]
    fn arbitrary_pieces_of_scenarios_never_panic(pieces in proptest::collection::vec(piece(), 0..20)) {
        let _ = Scenario::parse(&pieces.concat(), "s.toml").map_err(|error| error.to_string());
    }

    #[test]
    fn every_cell_of_a_matrix_is_there_once(a in 1_u32..6, b in 1_u32..6, c in 1_u32..6) {
        let list = |n: u32| format!("{:?}", (1..=n).collect::<Vec<_>>());
        let text = one_case(
            &format!("[trials]\ncount = {}", list(a)),
            &format!("vm = {{ vcpus = {} }}\nstrategy = {{ kind = \"hybrid\", after_passes = {} }}", list(b), list(c)),
        );
        let titles = titles(&text);
        let unique: BTreeSet<&String> = titles.iter().collect();
        prop_assert_eq!(unique.len(), titles.len());
        prop_assert_eq!(titles.len(), usize::try_from(a * b * c).unwrap());
    }
}
