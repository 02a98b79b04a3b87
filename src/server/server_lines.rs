//! The grammar of `server.N` values (reference: configuration 6.2).
//!
//! ```text
//! server.<id> = <hostspec>[ | <hostspec> ...] [ ; [<clienthost>:]<clientport> ]
//! hostspec    = <host> : <quorumPort> : <electionPort> [ : participant | observer ]
//! host        = name | IPv4 | [IPv6]
//! ```
//!
//! Names are not resolved here: an unknown name is no error, a peer may appear in DNS later.

use std::fmt;

/// Whether a member votes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum PeerType {
    #[default]
    Participant,
    Observer,
}

impl PeerType {
    /// The word, in any case.
    pub fn parse(word: &str) -> Result<PeerType, String> {
        if word.eq_ignore_ascii_case("participant") {
            Ok(PeerType::Participant)
        } else if word.eq_ignore_ascii_case("observer") {
            Ok(PeerType::Observer)
        } else {
            Err(format!("Unrecognised peertype: {word}"))
        }
    }
}

impl fmt::Display for PeerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PeerType::Participant => "participant",
            PeerType::Observer => "observer",
        })
    }
}

/// A host as written (without the brackets of IPv6) and a port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// Where one member listens for its peers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PeerAddress {
    pub host: String,
    pub quorum_port: u16,
    pub election_port: u16,
}

/// One member of the ensemble.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumServer {
    /// `N` of `server.N`.
    pub id: i64,
    /// Never empty; more than one with multi-address.
    pub addresses: Vec<PeerAddress>,
    pub peer_type: PeerType,
    pub client_address: Option<HostPort>,
    /// The client address was filled in from `clientPort`, so it is not part of the shared
    /// configuration.
    pub client_address_is_static: bool,
}

impl fmt::Display for QuorumServer {
    /// The value as `/zookeeper/config` shows it: addresses by host name, the role once, at the
    /// end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&PeerAddress> = self.addresses.iter().collect();
        sorted.sort_by(|a, b| a.host.cmp(&b.host));
        for (at, address) in sorted.into_iter().enumerate() {
            let bar = if at == 0 { "" } else { "|" };
            let host = Bracketed(&address.host);
            write!(f, "{bar}{host}:{}:{}", address.quorum_port, address.election_port)?;
        }
        write!(f, ":{}", self.peer_type)?;
        match &self.client_address {
            Some(client) if !self.client_address_is_static => write!(f, ";{client}"),
            _ => Ok(()),
        }
    }
}

impl QuorumServer {
    /// Reads the value of `server.<id>`. The error is the reference's text.
    pub fn parse(id: i64, text: &str, multi_address: bool) -> Result<QuorumServer, String> {
        let mut parts = java_split(text, ';').into_iter();
        let (Some(servers), client, None) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong_format(text));
        };
        let client_address = client.map(|c| parse_client(text, c)).transpose()?;
        let specs = java_split(servers, '|');
        if specs.len() > 1 && !multi_address {
            return Err(format!(
                "Multiple address feature is disabled, but multiple addresses were specified for \
                 sid {id}"
            ));
        }
        let mut peer_type = None;
        let mut addresses = Vec::with_capacity(specs.len());
        for spec in specs {
            let (address, role) = parse_spec(id, text, spec)?;
            addresses.push(address);
            let role = role.map(PeerType::parse).transpose()?;
            if let (Some(new), Some(old)) = (role, peer_type)
                && new != old
            {
                return Err(format!(
                    "Multiple addresses should have the same role: {old} vs. {new}"
                ));
            }
            peer_type = role.or(peer_type);
        }
        if addresses.is_empty() {
            return Err(wrong_format(text));
        }
        Ok(QuorumServer {
            id,
            addresses,
            peer_type: peer_type.unwrap_or_default(),
            client_address,
            client_address_is_static: false,
        })
    }
}

fn wrong_format(text: &str) -> String {
    format!(
        "{text} does not have the form server_config or server_config;client_config where \
         server_config is the pipe separated list of host:port:port or host:port:port:type and \
         client_config is port or host:port"
    )
}

fn parse_client(text: &str, client: &str) -> Result<HostPort, String> {
    let parts = host_and_ports(client)?;
    let (host, port) = match parts.as_slice() {
        [port] => ("0.0.0.0", *port),
        [host, port] => (*host, *port),
        _ => return Err(wrong_format(text)),
    };
    Ok(HostPort { host: host.to_owned(), port: parse_port("null", port)? })
}

fn parse_spec<'a>(
    id: i64,
    text: &str,
    spec: &'a str,
) -> Result<(PeerAddress, Option<&'a str>), String> {
    let parts = host_and_ports(spec)?;
    let (host, quorum, election, role) = match parts.as_slice() {
        [host, quorum, election] => (*host, *quorum, *election, None),
        [host, quorum, election, role] => (*host, *quorum, *election, Some(*role)),
        _ => return Err(wrong_format(text)),
    };
    let quorum_port = parse_port(host, quorum)?;
    let election_port = parse_port(host, election)?;
    if quorum_port == election_port {
        return Err(format!(
            "Client and election port must be different! Please update the configuration file on \
             server.{id}"
        ));
    }
    Ok((PeerAddress { host: host.to_owned(), quorum_port, election_port }, role))
}

fn parse_port(host: &str, text: &str) -> Result<u16, String> {
    let number: i32 = text.parse().map_err(|_| format!("Address unresolved: {host}:{text}"))?;
    u16::try_from(number).map_err(|_| format!("port out of range:{number}"))
}

/// Host first, without brackets, then what colons part after it.
fn host_and_ports(text: &str) -> Result<Vec<&str>, String> {
    let Some(inner) = text.strip_prefix('[') else { return Ok(java_split(text, ':')) };
    let Some(end) = inner.find("]:") else {
        return Err(format!("{text} starts with '[' but has no matching ']:'"));
    };
    let rest = &inner[end + 2..];
    if rest.is_empty() {
        return Err(format!("{text} doesn't have a port after colon"));
    }
    let mut parts = vec![&inner[..end]];
    parts.extend(java_split(rest, ':'));
    Ok(parts)
}

/// Java's `split`: trailing empty parts do not count.
fn java_split(text: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(separator).collect();
    while parts.len() > 1 && parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<QuorumServer, String> {
        QuorumServer::parse(7, text, false)
    }

    fn shown(text: &str) -> String {
        parse(text).expect("valid").to_string()
    }

    #[test]
    fn accepted_forms() {
        assert_eq!(shown("h:2888:3888"), "h:2888:3888:participant");
        assert_eq!(shown("h:2888:3888:OBSERVER"), "h:2888:3888:observer");
        assert_eq!(shown("h:2888:3888;2181"), "h:2888:3888:participant;0.0.0.0:2181");
        assert_eq!(shown("h:1:2:observer;c:3"), "h:1:2:observer;c:3");
        assert_eq!(shown("[::1]:1:2;[fe80::2]:3"), "[::1]:1:2:participant;[fe80::2]:3");
        assert_eq!(shown("0.0.0.0:1:2"), "0.0.0.0:1:2:participant");
        let two = QuorumServer::parse(7, "b:1:2:observer|a:3:4:observer;5", true).expect("valid");
        assert_eq!(two.to_string(), "a:3:4|b:1:2:observer;0.0.0.0:5");
    }

    #[test]
    fn errors_carry_the_references_text() {
        let error = |text: &str| parse(text).expect_err(text);
        for text in ["", "h", "h:1", "h:1:2:observer:x", "h:1:2;a:b:c", "h:1:2;3;4"] {
            assert!(error(text).starts_with(&format!("{text} does not have the form")), "{text}");
        }
        assert_eq!(error("h:1:2:boss"), "Unrecognised peertype: boss");
        assert_eq!(
            error("h:1:1"),
            "Client and election port must be different! Please update the configuration file on \
             server.7"
        );
        assert_eq!(
            error("h:1:2|i:1:2"),
            "Multiple address feature is disabled, but multiple addresses were specified for sid 7"
        );
        assert_eq!(error("h:x:2"), "Address unresolved: h:x");
        assert_eq!(error("h:1:2;x"), "Address unresolved: null:x");
        assert_eq!(error("h:1:70000"), "port out of range:70000");
        assert_eq!(error("[::1"), "[::1 starts with '[' but has no matching ']:'");
        assert_eq!(error("[::1]:"), "[::1]: doesn't have a port after colon");
        let mixed = QuorumServer::parse(7, "h:1:2:observer|i:1:2:participant", true);
        assert!(mixed.expect_err("mixed").contains("same role"));
    }
}
