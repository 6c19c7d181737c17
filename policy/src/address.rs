//! Which addresses the egress gateway may connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether `address` is one of the public internet.
///
/// Everything that is not globally routable is not: loopback, private, link-local, shared (CGNAT), documentation,
/// benchmarking, multicast, reserved and unspecified addresses, and the metadata services of clouds.
/// An IPv6 address that carries an IPv4 address to its destination (mapped, NAT64) is as public as that one; where the way
/// there is obsolete or somebody else's (compatible, 6to4, Teredo, local NAT64) it never is.
pub fn is_public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

#[expect(clippy::unnested_or_patterns, reason = "a table: one range a line")]
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let refused = matches!(
        (a, b, c, d),
        (0, ..)                         // "this network"
            | (10, ..)                  // private
            | (100, 64..=127, ..)       // shared between a carrier and its customers
            | (127, ..)                 // loopback
            | (168, 63, 129, 16)        // Azure's metadata and DNS service, a public address that is not
            | (169, 254, ..)            // link-local; the metadata services of clouds
            | (172, 16..=31, ..)        // private
            | (192, 0, 0 | 2, _)        // protocol assignments; documentation
            | (192, 88, 99, _)          // 6to4 relays, withdrawn
            | (192, 168, ..)            // private
            | (198, 18 | 19, ..)        // benchmarking
            | (198, 51, 100, _)         // documentation
            | (203, 0, 113, _)          // documentation
            | (224..=255, ..) // multicast, reserved, broadcast
    );
    !refused
}

#[expect(clippy::unnested_or_patterns, reason = "a table: one range a line")]
fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = carried_v4(address) {
        return is_public_v4(inner);
    }
    let [s0, s1, ..] = address.segments();
    // Global unicast is 2000::/3 alone; loopback, unspecified, compatible, ULA, link-local, site-local and multicast lie outside.
    let global_unicast = (0x2000..=0x3fff).contains(&s0);
    let refused = matches!(
        (s0, s1),
        (0x2001, 0x0000..=0x01ff)       // protocol assignments: Teredo, benchmarking, ORCHID
            | (0x2001, 0x0db8)          // documentation
            | (0x2002, _)               // 6to4
            | (0x3fff, 0x0000..=0x0fff) // documentation
    );
    global_unicast && !refused
}

/// The IPv4 address to which a packet for `address` is carried: mapped (`::ffff:0:0/96`) and NAT64 (`64:ff9b::/96`).
fn carried_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [s0, s1, s2, s3, s4, s5, high, low] = address.segments();
    let carries = matches!(
        (s0, s1, s2, s3, s4, s5),
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0)
    );
    let bits = (u32::from(high) << 16) | u32::from(low);
    carries.then(|| Ipv4Addr::from_bits(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "168.63.129.17",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.88.98.255",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2000::",
            "2003::1",
            "3ffe::1",
            "3fff:1000::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert!(is_public_address(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn addresses_that_are_not_public() {
        for text in [
            // IPv4: first and last of every range
            "0.0.0.0",
            "0.255.255.255",
            "10.0.0.0",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "100.100.100.200",
            "127.0.0.0",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.255.255",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.0",
            "192.0.0.255",
            "192.0.2.0",
            "192.0.2.255",
            "192.88.99.0",
            "192.88.99.255",
            "192.168.0.0",
            "192.168.255.255",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.0",
            "198.51.100.255",
            "203.0.113.0",
            "203.0.113.255",
            "224.0.0.0",
            "239.255.255.255",
            "240.0.0.0",
            "255.255.255.255",
            // IPv6 of its own
            "::",
            "::1",
            "100::1",
            "100:0:0:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "feff::1",
            "ff00::1",
            "ff02::1",
            "ff0e::1",
            "2001:db8::1",
            "2001:db8:ffff::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "4000::1",
            "1fff::1",
            "e000::1",
            // IPv4 within IPv6: mapped, compatible, translated, NAT64, local NAT64, 6to4, Teredo, ISATAP-like
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:127.0.0.1",
            "::127.0.0.1",
            "::8.8.8.8",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.1.2.3",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1::10.0.0.1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "2002:808:808::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff:ffff::1",
            "fe80::5efe:127.0.0.1",
        ] {
            assert!(!is_public_address(text.parse().unwrap()), "{text}");
        }
    }
}
