//! Hardware addresses.

use std::fmt;
use std::str::FromStr;

/// An Ethernet hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address made of these bytes.
    #[must_use]
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// Its bytes, in the order of the wire.
    #[must_use]
    pub const fn octets(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What was read is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no hardware address: six bytes as in 52:54:00:12:34:56")]
pub struct NoMacAddress(String);

impl FromStr for MacAddress {
    type Err = NoMacAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parts = text.split(':').map(|part| u8::from_str_radix(part, 16).ok().filter(|_| is_byte(part)));
        let octets = parts.collect::<Option<Vec<u8>>>().and_then(|octets| octets.try_into().ok());
        octets.map(Self).ok_or_else(|| NoMacAddress(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_either_case_as_it_is_written() {
        let address = MacAddress::new([0x52, 0x54, 0, 0xab, 0xcd, 0xef]);
        for text in [address.to_string(), "52:54:00:AB:cd:EF".into()] {
            assert_eq!(text.parse::<MacAddress>().unwrap(), address);
        }
        for wrong in [
            "",
            "52:54:00:ab:cd",
            "52:54:00:ab:cd:ef:01",
            "52:54:00:ab:cd:e",
            "52:54:00:ab:cd:+f",
            "525400abcdef",
            "52-54-00-ab-cd-ef",
            "52:54:00:ab:cd:eg",
            " 52:54:00:ab:cd:ef",
        ] {
            let error = wrong.parse::<MacAddress>().unwrap_err();
            assert!(error.to_string().contains(&format!("{wrong:?} is no hardware address")), "{error}");
        }
    }
}
