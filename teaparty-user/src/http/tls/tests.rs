//! What is taken as a certificate with its key, and what is said of the rest.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

use super::*;

/// Certificate and key in PEM.
fn made(name: &str) -> (String, String) {
    let made = generate_simple_self_signed([name.to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn load(&self, certificate: &str, key: &str) -> Result<Tls, TlsError> {
        Tls::load(&self.write("cert.pem", certificate, 0o644), &self.write("key.pem", key, 0o600))
    }
}

#[test]
fn a_certificate_and_its_key_are_taken_and_others_are_told_apart() {
    let files = Files::new();
    let ((certificate, key), (other, other_key)) = (made("a.example"), made("b.example"));
    assert_eq!(format!("{:?}", files.load(&certificate, &key).unwrap()), "Tls(1 certificates)");
    // The chain's first is ours, whatever follows.
    assert_eq!(files.load(&format!("{certificate}{other}"), &key).unwrap().identity().chain.len(), 2);
    assert!(matches!(files.load(&certificate, &other_key), Err(TlsError::Mismatch { .. })));
    let no_certificate = files.load(&key, &key).unwrap_err();
    assert!(matches!(no_certificate, TlsError::Missing { what: "certificate", .. }), "{no_certificate}");
    assert!(!no_certificate.is_about_key(&files.folder.path().join("key.pem")));
    for no_key in
        ["", &certificate, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"]
    {
        let error = files.load(&certificate, no_key).unwrap_err();
        assert!(matches!(error, TlsError::Missing { begins: "PRIVATE KEY", .. }), "{error}");
        assert!(error.is_about_key(&files.folder.path().join("key.pem")));
    }
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let error = files.load(broken, &key).unwrap_err();
    assert!(matches!(&error, TlsError::Malformed { path, .. } if path.ends_with("cert.pem")), "{error}");
    let broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let error = files.load(&certificate, broken).unwrap_err();
    assert!(matches!(&error, TlsError::Malformed { path, .. } if path.ends_with("key.pem")), "{error}");
    assert!(!error.to_string().contains("secret") && !error.to_string().contains("c2Vj"), "{error}");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let files = Files::new();
    let (certificate, key) = made("a.example");
    let certificate = files.write("cert.pem", &certificate, 0o644);
    for mode in [0o644, 0o640, 0o620] {
        let error = Tls::load(&certificate, &files.write("key.pem", &key, mode)).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    let error = Tls::load(&certificate, &files.folder.path().join("none")).unwrap_err();
    assert!(error.to_string().contains("none: No such file"), "{error}");
}

#[test]
fn another_certificate_is_taken_over_by_all_clones() {
    let files = Files::new();
    let ((first, first_key), (second, second_key)) = (made("a.example"), made("a.example"));
    let now = files.load(&first, &first_key).unwrap();
    let clone = now.clone();
    assert!(!now.renew(&files.load(&first, &first_key).unwrap()));
    let newer = files.load(&second, &second_key).unwrap();
    assert!(now.renew(&newer));
    assert_eq!(clone.identity().chain, newer.identity().chain);
}
