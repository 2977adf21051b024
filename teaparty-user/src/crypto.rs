//! Keys and the two HMACs of STAMP: of the base packet (RFC 8762 §4.4) and of the TLVs (RFC 8972 §4.8).
//!
//! A key is never shown: [`HmacKey`] has no `Serialize`, its `Debug` prints the length only, and its memory is cleared when
//! it goes. Per key the two padded-key states of HMAC-SHA-256 are computed once and copied for each packet.

use std::fmt;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use teaparty_common::wire::{AUTHENTICATED_LEN, HMAC_COVERS, HMAC_LEN};
use zeroize::Zeroizing;

use crate::files;
use crate::files::limit::reading;
use crate::layout::count;
use crate::logging;

/// The variable for the folder of a service's credentials (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Most octets that a key source may hold, its prefix included. HMAC-SHA-256 gains nothing above 64.
const MAX_SOURCE_LEN: usize = 4096;

/// Octets of a key below which it is warned about: the HMACs of STAMP are 16 octets long (RFC 8762 §4.4).
pub const LEAST_KEY_LEN: usize = 16;

/// A key that is unavailable or unusable. The text never contains any of its octets.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The source can't be read.
    #[error("cannot read the key from {origin}: {reason}")]
    Unreadable {
        /// The source as given.
        origin: KeySource,
        /// Why.
        reason: std::io::Error,
    },
    /// The environment has no such variable.
    #[error("the environment has no variable {name} to take the key from")]
    NoVariable {
        /// The variable's name.
        name: String,
    },
    /// The service manager has passed no credentials.
    #[error(
        "there is no {CREDENTIALS} to take the credential {name} from; the unit of a systemd service passes it with \
         LoadCredential={name}:FILE"
    )]
    NoCredentials {
        /// The credential's name.
        name: String,
    },
    /// Others may read or change the file.
    #[error("the key file {} may be read or written by others (mode {mode:04o}); run: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No octets.
    #[error("the key is empty")]
    Empty,
    /// More than a key can sensibly be.
    #[error("the key is longer than {MAX_SOURCE_LEN} octets; is this the right file?")]
    TooLong,
    /// `hex:` is followed by something else.
    #[error("what follows `hex:` is not an even number of hexadecimal digits")]
    NotHex,
    /// `base64:` is followed by something else.
    #[error("what follows `base64:` is not base64 with its padding")]
    NotBase64,
}

/// A key, ready to sign and verify.
#[derive(Clone)]
pub struct HmacKey {
    len: usize,
    /// Inner and outer state after the padded key: in memory once, however often the key is handed on. Cleared when the
    /// last one goes (feature `zeroize` of hmac and sha2).
    keyed: Arc<Hmac<Sha256>>,
}

impl HmacKey {
    /// A key of exactly these octets, of any length but 0.
    pub fn new(octets: &[u8]) -> Result<Self, KeyError> {
        if octets.is_empty() {
            return Err(KeyError::Empty);
        }
        let keyed = Arc::new(Hmac::new_from_slice(octets).expect("HMAC takes keys of every length"));
        Ok(Self { len: octets.len(), keyed })
    }

    /// The key that a file with this content stands for.
    ///
    /// One newline at the end, or CR LF, does not count. `hex:` or `base64:` in front says how the rest is written;
    /// without either, the octets themselves are the key.
    pub fn from_content(content: &[u8]) -> Result<Self, KeyError> {
        if content.len() > MAX_SOURCE_LEN {
            return Err(KeyError::TooLong);
        }
        let content = content.strip_suffix(b"\r\n").or_else(|| content.strip_suffix(b"\n")).unwrap_or(content);
        if let Some(digits) = content.strip_prefix(b"hex:") {
            return Self::new(&decode_hex(digits).ok_or(KeyError::NotHex)?);
        }
        if let Some(text) = content.strip_prefix(b"base64:") {
            return Self::new(&Zeroizing::new(BASE64.decode(text).map_err(|_| KeyError::NotBase64)?));
        }
        Self::new(content)
    }

    /// Warns about a key shorter than [`LEAST_KEY_LEN`], which may be guessed from one packet. `origin` is where it is.
    pub fn warn_if_short(&self, origin: &dyn fmt::Display) {
        if self.len < LEAST_KEY_LEN {
            let octets = count(self.len as u64, "octet");
            logging::warn_early(format!(
                "the key from {origin} has {octets}, and keys under {LEAST_KEY_LEN} octets may be guessed; make one with: \
                 (umask 077; openssl rand -hex 32 > FILE)"
            ));
        }
    }

    /// Returns true if both sign alike: the same octets, or what HMAC makes no difference between. Takes the same time wherever
    /// they differ.
    pub fn is_same(&self, other: &Self) -> bool {
        self.truncated(&[b"same"]).ct_eq(&other.truncated(&[b"same"])).into()
    }

    /// The HMAC of an authenticated base packet: over its first [`HMAC_COVERS`] octets as they are.
    ///
    /// Fewer octets than that give `None`.
    pub fn base_hmac(&self, packet: &[u8]) -> Option<[u8; HMAC_LEN]> {
        Some(self.truncated(&[packet.get(..HMAC_COVERS)?]))
    }

    /// Writes the HMAC into an authenticated base packet; `false`, with nothing written, if it is too short for one.
    pub fn sign_base(&self, packet: &mut [u8]) -> bool {
        let Some(hmac) = self.base_hmac(packet) else { return false };
        match packet.get_mut(HMAC_COVERS..AUTHENTICATED_LEN) {
            Some(place) => place.copy_from_slice(&hmac),
            None => return false,
        }
        true
    }

    /// Returns true if the HMAC of an authenticated base packet is right. Takes the same time wherever it differs.
    pub fn verify_base(&self, packet: &[u8]) -> bool {
        let Some(stated) = packet.get(HMAC_COVERS..AUTHENTICATED_LEN) else { return false };
        self.base_hmac(packet).is_some_and(|hmac| hmac.ct_eq(stated).into())
    }

    /// The value of an HMAC TLV: over the packet's Sequence Number (as on the wire) and all octets of the TLVs in
    /// front of it, headers included.
    pub fn tlv_hmac(&self, sequence_number: [u8; 4], tlvs: &[u8]) -> [u8; HMAC_LEN] {
        self.truncated(&[&sequence_number, tlvs])
    }

    /// Returns true if `stated` is the value that an HMAC TLV behind `tlvs` must have; `false` for any length but [`HMAC_LEN`].
    pub fn verify_tlvs(&self, sequence_number: [u8; 4], tlvs: &[u8], stated: &[u8]) -> bool {
        stated.len() == HMAC_LEN && self.tlv_hmac(sequence_number, tlvs).ct_eq(stated).into()
    }

    fn truncated(&self, parts: &[&[u8]]) -> [u8; HMAC_LEN] {
        let mut hmac = (*self.keyed).clone();
        parts.iter().for_each(|part| hmac.update(part));
        let digest = hmac.finalize().into_bytes();
        *digest.first_chunk().expect("a SHA-256 digest is twice as long")
    }
}

impl fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} octets)", self.len)
    }
}

fn decode_hex(digits: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |octet: u8| char::from(octet).to_digit(16).map(|value| value as u8);
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

/// The source of a key: `FILE`, `credential:NAME`, `env:NAME` or `fd:N`. None of these shows the key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file that only its owner may read or write.
    File(PathBuf),
    /// A credential that systemd passes to a service, by its name.
    Credential(String),
    /// An environment variable.
    Environment(String),
    /// An open file descriptor of this process, such as the read end of a pipe.
    Descriptor(u32),
}

impl KeySource {
    /// Reads the key. Warns about one that is short.
    pub fn load(&self) -> Result<HmacKey, KeyError> {
        let key = reading(|| self.read())?;
        key.warn_if_short(self);
        Ok(key)
    }

    fn read(&self) -> Result<HmacKey, KeyError> {
        let unreadable = |reason| KeyError::Unreadable { origin: self.clone(), reason };
        match self {
            Self::Environment(name) => {
                let value = std::env::var_os(name).ok_or_else(|| KeyError::NoVariable { name: name.clone() })?;
                let value = Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value));
                HmacKey::from_content(&value)
            }
            Self::Descriptor(number) => {
                let file = duplicate(*number).map_err(unreadable)?;
                HmacKey::from_content(&content(file).map_err(unreadable)?)
            }
            Self::Credential(name) => {
                let folder = credentials().ok_or_else(|| KeyError::NoCredentials { name: name.clone() })?;
                let file = files::open(&folder.join(name)).map_err(unreadable)?;
                HmacKey::from_content(&content(file).map_err(unreadable)?)
            }
            Self::File(path) => {
                let file = open_secret(path).map_err(|error| match error {
                    SecretError::Unreadable(reason) => unreadable(reason),
                    SecretError::Exposed(mode) => KeyError::Exposed { path: path.clone(), mode },
                })?;
                HmacKey::from_content(&content(file).map_err(unreadable)?)
            }
        }
    }
}

/// A file with a secret can't be used.
#[derive(Debug)]
pub enum SecretError {
    /// It can't be opened.
    Unreadable(std::io::Error),
    /// Others than its owner may read or write it; its mode.
    Exposed(u32),
}

/// Opens a file with a secret, if nobody but its owner may read or write it.
pub fn open_secret(path: &Path) -> Result<std::fs::File, SecretError> {
    let file = files::open(path).map_err(SecretError::Unreadable)?;
    let mode = file.metadata().map_err(SecretError::Unreadable)?.permissions().mode() & 0o7777;
    // A unit may also write %d/NAME. systemd guards that folder, and where it lets a user in by an access control list, a
    // file in it looks as if its group might read it.
    let is_credential = credentials().is_some_and(|folder| path.parent() == Some(&folder));
    if mode & 0o066 != 0 && !is_credential { Err(SecretError::Exposed(mode)) } else { Ok(file) }
}

fn credentials() -> Option<PathBuf> {
    std::env::var_os(CREDENTIALS).filter(|folder| !folder.is_empty()).map(PathBuf::from)
}

/// A descriptor of our own for the file that `number` refers to, so that the original stays with whoever owns it. Not
/// by opening /proc/self/fd, which again asks for permissions that the process may have given up since.
fn duplicate(number: u32) -> std::io::Result<std::fs::File> {
    let number = libc::c_int::try_from(number).map_err(|_| std::io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: takes no pointers, and a number that is no open descriptor gives an error.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: just made, and owned by nobody else.
    Ok(unsafe { std::fs::File::from_raw_fd(copy) })
}

/// All of it, but no more than shows that it is too much.
fn content(file: std::fs::File) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_SOURCE_LEN + 1));
    file.take(MAX_SOURCE_LEN as u64 + 1).read_to_end(&mut content)?;
    Ok(content)
}

/// A text that names no [`KeySource`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySource {
    /// The name of the variable is missing.
    #[error("`env:` wants the name of a variable after it")]
    NoVariable,
    /// The number of the descriptor is none.
    #[error("`fd:` wants the number of an open file after it, not `{0}`")]
    Descriptor(String),
    /// The name of the credential is missing, or is a folder's.
    #[error("`credential:` wants the name of a credential after it")]
    NoCredential,
    /// The name of the credential is a path.
    #[error("`{0}` is no name of a credential: it has a slash")]
    CredentialPath(String),
    /// It is empty.
    #[error("the name of a key file is empty")]
    Empty,
}

impl FromStr for KeySource {
    type Err = InvalidKeySource;

    fn from_str(text: &str) -> Result<Self, InvalidKeySource> {
        if let Some(name) = text.strip_prefix("env:") {
            return match name {
                "" => Err(InvalidKeySource::NoVariable),
                _ => Ok(Self::Environment(name.into())),
            };
        }
        if let Some(number) = text.strip_prefix("fd:") {
            return number.parse().map(Self::Descriptor).map_err(|_| InvalidKeySource::Descriptor(number.into()));
        }
        if let Some(name) = text.strip_prefix("credential:") {
            // What systemd takes as a name: it is a file's.
            return match name {
                "" | "." | ".." => Err(InvalidKeySource::NoCredential),
                _ if name.contains('/') => Err(InvalidKeySource::CredentialPath(name.into())),
                _ => Ok(Self::Credential(name.into())),
            };
        }
        if text.is_empty() { Err(InvalidKeySource::Empty) } else { Ok(Self::File(text.into())) }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "credential:{name}"),
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::Descriptor(number) => write!(f, "fd:{number}"),
        }
    }
}

#[cfg(test)]
mod tests;
