//! Scheme `ip`: addresses as Java prints them, and prefixes of them in ACLs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as Java prints it: dotted quad, or all eight groups of an IPv6 address in lower-case
/// hex without leading zeros and without `::`. An IPv4-mapped address is shown as IPv4.
pub fn ip_text(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let groups = v6.segments().map(|group| format!("{group:x}"));
            groups.join(":")
        }
    }
}

/// An address with the number of leading bits that count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Prefix {
    ip: IpAddr,
    bits: u32,
}

/// Whether `id` may stand in an `ip` entry (reference: data-model 10.3).
pub(super) fn valid(id: &str) -> bool {
    prefix(id).is_some()
}

/// Whether the address `text` is of the same family as the entry `id` and agrees in its leading
/// bits.
pub(super) fn matches(text: &str, id: &str) -> bool {
    let (Some(ip), Some(prefix)) = (address(text), prefix(id)) else { return false };
    match (ip, prefix.ip) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let differing = a.to_bits() ^ b.to_bits();
            differing.leading_zeros() >= prefix.bits
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let differing = a.to_bits() ^ b.to_bits();
            differing.leading_zeros() >= prefix.bits
        }
        _ => false,
    }
}

fn prefix(id: &str) -> Option<Prefix> {
    let (text, bits) = match id.split_once('/') {
        Some((text, bits)) => (text, Some(bits)),
        None => (id, None),
    };
    let ip = address(text)?;
    let max = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => max,
        // As Java reads an int: a sign and leading zeros are welcome.
        Some(bits) => bits.parse::<i32>().ok().and_then(|bits| u32::try_from(bits).ok())?,
    };
    (bits <= max).then_some(Prefix { ip, bits })
}

fn address(text: &str) -> Option<IpAddr> {
    if !text.contains(':') {
        let mut octets = [0; 4];
        let mut parts = text.split('.');
        for octet in &mut octets {
            let value = parts.next()?.parse::<i32>().ok()?;
            *octet = u8::try_from(value).ok()?;
        }
        return parts.next().is_none().then(|| Ipv4Addr::from(octets).into());
    }
    // std would take an IPv4 tail; the reference takes hex groups only.
    if text.contains('.') {
        return None;
    }
    text.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_java_prints_them() {
        let text = |ip: &str| ip_text(ip.parse().unwrap());
        assert_eq!(text("127.0.0.1"), "127.0.0.1");
        assert_eq!(text("::1"), "0:0:0:0:0:0:0:1");
        assert_eq!(text("FE80::00a0:1"), "fe80:0:0:0:0:0:a0:1");
        assert_eq!(text("::ffff:10.1.2.3"), "10.1.2.3");
    }

    #[test]
    fn syntax_of_entries() {
        let good = [
            "1.2.3.4",
            "1.2.3.4/0",
            "1.2.3.4/32",
            "010.0.0.1",
            "::",
            "::1/128",
            "1::/0",
            "1:2:3:4:5:6:7:8",
            "fe80::1/10",
            "+1.2.3.4",
            "1.2.3.4/+8",
            "1.2.3.4/08",
            "1:2:3:4:5:6:7::",
            "::2:3:4:5:6:7:8",
        ];
        for id in good {
            assert!(valid(id), "{id}");
        }
        let bad = [
            "",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.2.3.-1",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/",
            "1.2.3.4/8/8",
            "1.2.3.x",
            "::1/129",
            "1::2::3",
            "::1.2.3.4",
            "fe80::1%lo",
            "12345::",
            "1:2:3:4:5:6:7",
            "localhost",
            "1:2:3:4:5:6:7:8::",
            "00001::",
            "1.2.3.4.",
            ":::",
            "1:",
        ];
        for id in bad {
            assert!(!valid(id), "{id}");
        }
    }

    #[test]
    fn prefixes_match_within_a_family() {
        assert!(matches("10.1.2.3", "10.1.2.3"));
        assert!(!matches("10.1.2.4", "10.1.2.3"));
        assert!(matches("10.1.2.4", "10.1.0.0/16"));
        assert!(!matches("10.2.2.4", "10.1.0.0/16"));
        assert!(matches("10.1.2.4", "10.1.2.7/30"));
        assert!(!matches("10.1.2.3", "10.1.2.7/30"));
        assert!(matches("1.1.1.1", "9.9.9.9/0"));
        assert!(matches("0:0:0:0:0:0:0:1", "::1"));
        assert!(matches("fe80:0:0:0:0:0:0:1", "fe80::/10"));
        assert!(!matches("0:0:0:0:0:0:0:1", "0.0.0.0/0"));
        assert!(!matches("1.1.1.1", "::/0"));
    }
}
