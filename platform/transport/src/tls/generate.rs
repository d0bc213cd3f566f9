//! The broker's own authority and server certificate, as PEM files in one directory.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use millrace_base::Clock;
use millrace_disk::{Disk, RealDisk, make_dir, read, replace};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::{Duration, OffsetDateTime};

use super::TlsError;
use super::pem::{certificates, file_error, pem_error, private_key, provider, trust};
use super::x509;

/// Clients pin the authority by its file, so it should outlive machines.
const CA_DAYS: i64 = 3650;
/// The longest that today's clients take for a server's certificate is 398 days.
const SERVER_DAYS: i64 = 397;
/// Renewed this long before the end, so that a broker restarted monthly never serves an expired one.
pub(super) const RENEW_DAYS: i64 = 30;
/// Clocks of clients may be behind ours.
const BACKDATED_DAYS: i64 = 1;

/// The names that every generated server certificate has.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The files of a generated authority and server certificate.
pub(super) struct Files {
    pub(super) ca: PathBuf,
    ca_key: PathBuf,
    pub(super) server: PathBuf,
    pub(super) server_key: PathBuf,
}

impl Files {
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self {
            ca: dir.join("ca.pem"),
            ca_key: dir.join("ca.key"),
            server: dir.join("server.pem"),
            server_key: dir.join("server.key"),
        }
    }
}

/// Makes what is missing, expires soon or lacks a host; keeps the rest.
pub(super) fn ensure(
    disk: &dyn Disk,
    dir: &Path,
    hosts: &[String],
    clock: &dyn Clock,
) -> Result<Files, TlsError> {
    let files = Files::in_dir(dir);
    let now = now(clock);
    make_dir(disk, dir).map_err(file_error("create", dir))?;
    let hosts: Vec<&str> = LOCAL_HOSTS.into_iter().chain(hosts.iter().map(String::as_str)).collect();
    let authority = authority(disk, &files, now)?;
    if !serves(disk, &files, &hosts, now) {
        let key = KeyPair::generate()?;
        let certificate = server_params(&hosts, now)?.signed_by(&key, &authority)?;
        write(disk, &files.server_key, &key.serialize_pem())?;
        write(disk, &files.server, &certificate.pem())?;
        tracing::info!(path = %files.server.display(), days = SERVER_DAYS, "made a server certificate");
    }
    Ok(files)
}

/// A client's certificate and key, both as PEM.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// Issues a certificate for client authentication from the generated authority in `dir`. Its subject is
/// `CN=name`.
pub fn issue_client_certificate(
    dir: &Path,
    name: &str,
    clock: &dyn Clock,
) -> Result<ClientCertificate, TlsError> {
    let now = now(clock);
    let authority = authority(&RealDisk, &Files::in_dir(dir), now)?;
    let mut params = params(name, now, SERVER_DAYS);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    Ok(ClientCertificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

/// The authority on disk, or a new one.
fn authority(
    disk: &dyn Disk,
    files: &Files,
    now: OffsetDateTime,
) -> Result<Issuer<'static, KeyPair>, TlsError> {
    let old_key = match read_if_exists(disk, &files.ca_key)? {
        None => None,
        Some(pem) => {
            let bad = |problem: String| pem_error(&files.ca_key, "a private key", problem);
            let pem = String::from_utf8(pem).map_err(|error| bad(error.to_string()))?;
            Some(KeyPair::from_pem(&pem).map_err(|error| bad(error.to_string()))?)
        }
    };
    let old_certificate = read_if_exists(disk, &files.ca)?;
    let key = match (old_certificate, old_key) {
        (Some(pem), Some(key)) => {
            let certificate = CertificateDer::from_pem_slice(&pem)
                .map_err(|error| pem_error(&files.ca, "certificates", error))?;
            let expires = x509::read(&certificate).map_or(0, |facts| facts.not_after);
            if expires > (now + Duration::days(RENEW_DAYS)).unix_timestamp() {
                return Ok(Issuer::new(ca_params(now), key));
            }
            tracing::warn!(
                path = %files.ca.display(),
                "the generated authority ends within {RENEW_DAYS} days: making a new one, clients need its ca.pem"
            );
            KeyPair::generate()?
        }
        (Some(_), None) => {
            return Err(TlsError::HalfAuthority { present: files.ca.clone(), missing: files.ca_key.clone() });
        }
        // A start that was cut short has left it: nobody has its certificate yet.
        (None, Some(key)) => key,
        (None, None) => KeyPair::generate()?,
    };
    let params = ca_params(now);
    let certificate = params.self_signed(&key)?;
    // The certificate last: its presence says that the key is there.
    write(disk, &files.ca_key, &key.serialize_pem())?;
    write(disk, &files.ca, &certificate.pem())?;
    Ok(Issuer::new(params, key))
}

fn read_if_exists(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match read(disk, path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error("read", path)(error)),
    }
}

/// Whether the server certificate on disk comes from the authority on disk, names `hosts` and lasts.
fn serves(disk: &dyn Disk, files: &Files, hosts: &[&str], now: OffsetDateTime) -> bool {
    let Ok(certificates) = certificates(disk, &files.server) else { return false };
    let Ok(key) = private_key(disk, &files.server_key) else { return false };
    // A renewal that was cut short leaves the old certificate beside the new key.
    if CertifiedKey::from_der(certificates.clone(), key, &provider()).is_err() {
        return false;
    }
    let Some((own, chain)) = certificates.split_first() else { return false };
    let Ok(roots) = trust(disk, &files.ca) else { return false };
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build();
    let Ok(verifier) = verifier else { return false };
    let later = (now + Duration::days(RENEW_DAYS)).unix_timestamp().unsigned_abs();
    let later = UnixTime::since_unix_epoch(std::time::Duration::from_secs(later));
    hosts.iter().all(|host| {
        ServerName::try_from(*host).is_ok_and(|name| {
            use rustls::client::danger::ServerCertVerifier as _;
            verifier.verify_server_cert(own, chain, &name, &[], later).is_ok()
        })
    })
}

fn params(common_name: &str, now: OffsetDateTime, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = now - Duration::days(BACKDATED_DAYS);
    params.not_after = now + Duration::days(days);
    params
}

fn ca_params(now: OffsetDateTime) -> CertificateParams {
    let mut params = params("Millrace generated authority", now, CA_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server_params(hosts: &[&str], now: OffsetDateTime) -> Result<CertificateParams, TlsError> {
    let mut params = params("Millrace broker", now, SERVER_DAYS);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Brokers also connect to each other.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    for host in hosts {
        let invalid = || TlsError::Host { host: (*host).to_owned() };
        ServerName::try_from(*host).map_err(|_| invalid())?;
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(Ia5String::try_from(*host).map_err(|_| invalid())?),
        });
    }
    Ok(params)
}

/// Replaces `path` as a whole, durably: a client may already have been given the authority's certificate.
fn write(disk: &dyn Disk, path: &Path, text: &str) -> Result<(), TlsError> {
    replace(disk, path, text.as_bytes()).map_err(file_error("write", path))
}

fn now(clock: &dyn Clock) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::milliseconds(clock.now_ms())
}

#[cfg(test)]
mod tests {
    use millrace_base::ManualClock;
    use millrace_disk::sim::SimDisk;

    use super::*;

    /// When there is nothing yet, and when there is a certificate for other hosts.
    #[test]
    fn a_crash_at_any_operation_leaves_what_the_next_start_makes_whole() {
        let (dir, clock) = (Path::new("/data/tls"), ManualClock::at_ms(1_700_000_000_000));
        let hosts = |name: &str| vec![name.to_owned()];
        for (seed, renews) in [(1, false), (2, true), (3, false), (4, true)] {
            for operation in 0.. {
                let disk = SimDisk::new(seed);
                if renews {
                    ensure(&disk, dir, &hosts("old.example"), &clock).unwrap();
                }
                let authority = read(&disk, &dir.join("ca.pem")).ok();
                disk.crash_at(disk.operations() + operation);
                let done = ensure(&disk, dir, &hosts("new.example"), &clock).is_ok();
                let told = done.then(|| read(&disk, &dir.join("ca.pem")).unwrap()).or(authority);
                disk.crash();
                disk.restart();
                // Also if the host's name was taken back.
                let name = if renews && operation % 2 == 0 { "old.example" } else { "new.example" };
                let files = ensure(&disk, dir, &hosts(name), &clock)
                    .unwrap_or_else(|error| panic!("seed {seed}, operation {operation}: {error}"));
                let names = [name];
                assert!(serves(&disk, &files, &names, now(&clock)), "seed {seed}, operation {operation}");
                if let Some(told) = told {
                    assert!(read(&disk, &files.ca).unwrap() == told, "clients have been given the authority");
                }
                if done {
                    break;
                }
            }
        }
    }
}
