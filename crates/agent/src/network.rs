//! The guest's network interfaces, set by ioctl: no netlink library is worth four settings.
#![expect(unsafe_code, reason = "ioctl on network interfaces has no safe wrapper in std")]

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;

use dunlin_agent_proto::{Neighbour, Network};

use crate::sys::check;

/// The guest's only card, by the name the kernel gives it.
const CARD: &str = "eth0";
/// Where a datagram means nothing (RFC 863).
const DISCARD_PORT: u16 = 9;
/// How often, and in what steps, it is seen whether the card is up.
const CARRIER_LOOKS: u32 = 50;
const CARRIER_STEP: std::time::Duration = std::time::Duration::from_millis(10);
/// Frames that may wait in the guest to be sent.
const SEND_QUEUE: libc::c_int = 10_000;

/// Gives the card its address, instead of the one it has, and brings it up.
pub(crate) fn configure(network: &Network) -> Result<(), String> {
    let Network { address, prefix, .. } = *network;
    if prefix > 32 {
        return Err(format!("give {CARD} the address {address}/{prefix}: the prefix is above 32"));
    }
    let said = |error: std::io::Error| format!("give {CARD} the address {address}/{prefix}: {error}");
    let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
    let mut request = interface_request(CARD);
    request.ifr_ifru.ifru_addr = socket_address(address);
    control(libc::SIOCSIFADDR, &mut request).map_err(said)?;
    request.ifr_ifru.ifru_netmask = socket_address(Ipv4Addr::from(mask));
    control(libc::SIOCSIFNETMASK, &mut request).map_err(said)?;
    request.ifr_ifru.ifru_metric = SEND_QUEUE;
    control(libc::SIOCSIFTXQLEN, &mut request).map_err(said)?;
    bring_up(CARD)?;
    network.neighbours.iter().try_for_each(add_neighbour)?;
    show(&network.neighbours);
    Ok(())
}

/// Sends each neighbour a datagram. The bridges in between may have seen this card's address elsewhere, where another guest
/// had it, and would send its frames there for minutes: with known neighbours nothing else is said before somebody asks.
fn show(neighbours: &[Neighbour]) {
    for _ in 0..CARRIER_LOOKS {
        // What is sent before the card is really up is lost.
        if std::fs::read_to_string(format!("/sys/class/net/{CARD}/carrier"))
            .is_ok_and(|carrier| carrier.trim() == "1")
        {
            break;
        }
        std::thread::sleep(CARRIER_STEP);
    }
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return };
    for neighbour in neighbours {
        // Whoever does not hear it asks again.
        let _ = socket.send_to(&[0], (neighbour.address, DISCARD_PORT));
    }
}

/// Sets the interface's "up" flag.
pub(crate) fn bring_up(name: &str) -> Result<(), String> {
    let said = |error: std::io::Error| format!("bring up {name}: {error}");
    let mut request = interface_request(name);
    control(libc::SIOCGIFFLAGS, &mut request).map_err(said)?;
    // SAFETY: the flags are what the kernel has just filled in.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    control(libc::SIOCSIFFLAGS, &mut request).map_err(said)
}

/// Makes a permanent entry for a machine, so that no answer waits for address resolution.
fn add_neighbour(neighbour: &Neighbour) -> Result<(), String> {
    // SAFETY: all zero is a valid arpreq.
    let mut request: libc::arpreq = unsafe { std::mem::zeroed() };
    request.arp_pa = socket_address(neighbour.address);
    request.arp_ha.sa_family = libc::ARPHRD_ETHER;
    copy_chars(&mut request.arp_ha.sa_data, &neighbour.mac);
    request.arp_flags = libc::ATF_PERM | libc::ATF_COM;
    copy_chars(&mut request.arp_dev, CARD.as_bytes());
    control(libc::SIOCSARP, &mut request)
        .map_err(|error| format!("make {} a known neighbour of {CARD}: {error}", neighbour.address))
}

/// Performs a request that takes a pointer to `argument`'s type.
fn control<T>(request: libc::Ioctl, argument: &mut T) -> std::io::Result<()> {
    // Any socket will do to reach the interfaces.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: the callers in this module pair each request with the structure the kernel expects for it.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut *argument) })
}

fn interface_request(name: &str) -> libc::ifreq {
    // SAFETY: all zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    copy_chars(&mut request.ifr_name, name.as_bytes());
    request
}

/// A `sockaddr_in` in the general form: family, port (2 bytes), address (4 bytes).
fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let mut general = libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: [0; 14] };
    copy_chars(&mut general.sa_data[2..], &address.octets());
    general
}

/// Copies what fits, less one for the terminating zero of a name.
fn copy_chars(to: &mut [libc::c_char], from: &[u8]) {
    let room = to.len() - 1;
    for (to, from) in to[..room].iter_mut().zip(from) {
        *to = from.cast_signed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_lies_where_the_kernel_looks_for_it() {
        let general = socket_address(Ipv4Addr::new(10, 77, 0, 200));
        // SAFETY: both are 16 bytes of plain numbers.
        let specific: libc::sockaddr_in = unsafe { std::mem::transmute(general) };
        assert_eq!(specific.sin_family, libc::AF_INET as libc::sa_family_t);
        assert_eq!(specific.sin_port, 0);
        assert_eq!(specific.sin_addr.s_addr, u32::from_ne_bytes([10, 77, 0, 200]));
    }
}
