//! The QEMUs of a node, told by its processes alone.

/// A QEMU that runs a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    /// Its process on its node.
    pub pid: u32,
    /// The domain's name.
    pub name: String,
    /// The domain's UUID.
    pub uuid: String,
}

/// Tells a node's QEMUs, each with its words, a line each and indented.
pub(super) const SCRIPT: &str = "\
for process in /proc/[0-9]*; do \
    case \"$(readlink $process/exe)\" in \
        */qemu-system-*) echo ${process#/proc/}; tr '\\0' '\\n' <$process/cmdline 2>/dev/null | sed 's/^/ /';; \
    esac; \
done; true";

/// What the script has told. Those without a UUID run no domain: libvirtd only asks them what they can.
pub(super) fn read(told: &str) -> Vec<Qemu> {
    let mut found: Vec<(u32, Vec<&str>)> = Vec::new();
    for line in told.lines() {
        match (line.strip_prefix(' '), found.last_mut()) {
            (Some(word), Some((_, words))) => words.push(word),
            (Some(_), None) => {}
            (None, _) => found.extend(line.parse().ok().map(|pid| (pid, Vec::new()))),
        }
    }
    let domain = |(pid, words): (u32, Vec<&str>)| {
        let after = |option| words.iter().skip_while(|word| **word != option).nth(1);
        let name = after("-name")?.split(',').find_map(|part| part.strip_prefix("guest="))?;
        Some(Qemu { pid, name: name.to_owned(), uuid: (*after("-uuid")?).to_owned() })
    };
    found.into_iter().filter_map(domain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qemu_is_told_by_its_words_and_one_that_is_only_asked_is_none() {
        let told = "111\n /usr/bin/qemu-system-x86_64\n -name\n guest=t1,debug-threads=on\n -append\n a b\n -uuid\n \
                    11111111-2222-3333-4444-555555555555\n -S\n12\n /usr/bin/qemu-system-x86_64\n -machine\n none\n13\n";
        let uuid = "11111111-2222-3333-4444-555555555555".to_owned();
        assert_eq!(read(told), [Qemu { pid: 111, name: "t1".into(), uuid }]);
        assert_eq!(read(""), []);
    }
}
