//! `oci://HOST[:PORT]/NAME[:TAG][@sha256:DIGEST]`.

use sha2::{Digest as _, Sha256};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What such an address begins with.
pub const SCHEME: &str = "oci://";

/// The longest name of a repository, in characters, that registries agree on.
const MAX_REPOSITORY: usize = 255;
/// The longest tag (OCI Distribution Specification).
const MAX_TAG: usize = 128;

/// A SHA-256: `sha256:` and 64 hexadecimal digits in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut text = "sha256:".to_owned();
        for byte in Sha256::digest(bytes) {
            // Writing to a string does not fail.
            let _ = fmt::Write::write_fmt(&mut text, format_args!("{byte:02x}"));
        }
        Self(text)
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        match text.strip_prefix("sha256:") {
            Some(digits) if digits.len() == 64 && digits.bytes().all(is_digit) => Ok(Self(text.to_owned())),
            _ => Err(format!("{text:?} is no digest (sha256: and 64 hexadecimal digits)")),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A module, or a place for one, in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The registry, as a person names it: with the port, if it has one.
    pub host: String,
    pub repository: String,
    pub tag: Option<String>,
    /// Of the manifest.
    pub digest: Option<Digest>,
}

impl Reference {
    /// The host that has the registry's API, with its port.
    pub fn api_host(&self) -> &str {
        match self.host.as_str() {
            "docker.io" | "index.docker.io" => "registry-1.docker.io",
            host => host,
        }
    }

    /// Is the registry on this machine? Then it is spoken to without TLS.
    pub fn is_local(&self) -> bool {
        is_loopback(host_of(&self.host))
    }

    /// The last part of the repository's name.
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// The same repository, and a module that cannot be replaced.
    pub fn pinned(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }
}

/// Without the port, and the brackets of an IPv6 address.
fn host_of(host: &str) -> &str {
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    host.split(':').next().unwrap_or_default()
}

/// Is this name or address the machine itself?
pub fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
        || host.parse().is_ok_and(|ip: Ipv6Addr| ip.is_loopback())
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{SCHEME}{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(formatter, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text}: {why} (oci://HOST/NAME:TAG, oci://HOST/NAME@sha256:…)");
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| wrong("it does not begin with oci://"))?;
        let (host, rest) = rest.split_once('/').ok_or_else(|| wrong("it has no name"))?;
        if !is_host(host) {
            return Err(wrong("its first part is no host"));
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|why: String| wrong(&why))?)),
            None => (rest, None),
        };
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if !is_repository(repository) {
            let why = "the name is not valid: lower-case letters, digits, and . _ - / between them";
            return Err(wrong(why));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong(
                "the tag is not valid: letters, digits, and . _ - after the first",
            ));
        }
        Ok(Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

fn is_host(host: &str) -> bool {
    let (address, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => (None, port),
            _ => return false,
        },
        None => match host.find(':') {
            Some(colon) => (Some(&host[..colon]), &host[colon..]),
            None => (Some(host), ""),
        },
    };
    let is_label = |label: &str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_part) && !label.starts_with('-')
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    address.is_none_or(|address| address.split('.').all(is_label))
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// Parts between slashes: letters and digits in lower case, with separators between them.
fn is_repository(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let is_inner = |byte: u8| is_end(Some(byte)) || matches!(byte, b'.' | b'_' | b'-');
        is_end(part.bytes().next())
            && is_end(part.bytes().last())
            && part.bytes().all(is_inner)
            && !part.contains("..")
    };
    name.len() <= MAX_REPOSITORY && name.split('/').all(is_part)
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.bytes().next().is_some_and(is_word)
        && tag.len() <= MAX_TAG
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn references_are_what_they_were_written_as() {
        for text in [
            "oci://ghcr.io/me/hello",
            "oci://127.0.0.1:5000/hello:1.0",
            "oci://[::1]:5000/a/b_c/d--e:Latest_1",
            &format!("oci://registry.example.org/hello:1@{SUM}"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
        }
        assert_eq!(Digest::of(b"").to_string(), SUM);
    }

    #[test]
    fn what_is_not_a_reference_says_why() {
        for (text, why) in [
            ("https://a/b", "does not begin with oci://"),
            ("oci://hello", "has no name"),
            ("oci:///hello", "no host"),
            ("oci://user@host/hello", "no host"),
            ("oci://a:0/hello", "no host"),
            ("oci://[nonsense]/hello", "no host"),
            ("oci://a/../../etc", "name is not valid"),
            ("oci://a/Hello", "name is not valid"),
            ("oci://a/b?c", "name is not valid"),
            ("oci://a/b:", "tag is not valid"),
            ("oci://a/b:x/y", "tag is not valid"),
            ("oci://a/b@sha256:12", "is no digest"),
            ("oci://a/b@sha512:12", "is no digest"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn only_loopback_is_spoken_to_without_tls() {
        for (host, is_local) in [
            ("127.0.0.1:5000", true),
            ("[::1]:5000", true),
            ("localhost", true),
            ("127.0.0.1.example.org", false),
            ("localhost.example.org", false),
            ("10.0.0.1:5000", false),
            ("[::2]", false),
        ] {
            let reference: Reference = format!("oci://{host}/a").parse().unwrap();
            assert_eq!(reference.is_local(), is_local, "{host}");
        }
    }
}
