//! How packets begin: the numbers that capture files use for it, from <https://www.tcpdump.org/linktypes.html>.

pub(crate) const NULL: u32 = 0;
pub(crate) const ETHERNET: u32 = 1;
pub(crate) const PPP: u32 = 9;
/// Raw IP, by the numbers of some systems' own files.
pub(crate) const RAW_OLD: [u32; 2] = [12, 14];
/// In frames like those of HDLC.
pub(crate) const PPP_HDLC: u32 = 50;
/// With PPPoE's header.
pub(crate) const PPP_ETHER: u32 = 51;
pub(crate) const RAW: u32 = 101;
pub(crate) const LOOP: u32 = 108;
pub(crate) const LINUX_SLL: u32 = 113;
pub(crate) const IPV4: u32 = 228;
pub(crate) const IPV6: u32 = 229;
pub(crate) const LINUX_SLL2: u32 = 276;

/// As people say it.
pub(crate) fn name(link: u32) -> String {
    match link {
        NULL | LOOP => "loopback".into(),
        ETHERNET => "Ethernet".into(),
        PPP | PPP_HDLC => "PPP".into(),
        PPP_ETHER => "PPPoE".into(),
        LINUX_SLL => "Linux cooked".into(),
        LINUX_SLL2 => "Linux cooked v2".into(),
        IPV4 | IPV6 | RAW => "raw IP".into(),
        link if RAW_OLD.contains(&link) => "raw IP".into(),
        link => format!("link type {link}"),
    }
}
