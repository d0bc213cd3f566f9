//! Secrets of deployments, sealed before they reach the metadata and opened where a plugin is started, so that
//! neither Raft's log, nor a snapshot, nor a message between brokers ever holds one in clear.
//!
//! The key lies apart from the metadata, in a directory of its own, and every broker of a cluster needs the same one:
//!
//! ```text
//! <dir>/key            seals secrets
//! <dir>/compiled-key   authenticates compiled modules, each broker's own
//! ```
//!
//! A key file has 40 bytes: `MRKEY001`, and the key. It is made at the first use, with mode 0600.
//!
//! A sealed secret is the text `sealed:1:<key>:<nonce and ciphertext>`, both parts in hexadecimal: the first 8 bytes
//! of the key's SHA-256, and AES-256-GCM of the secret with a random nonce of 12 bytes before it and the names of
//! deployment and grant as associated data, so that a sealed text is of use for nothing else. Version rule: another
//! form has another number. A text without `sealed:` is a secret in clear, of a deployment from before there was this
//! form; it is read as it is, and sealed with the deployment's next version.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use millrace_protocol::plugins::{GrantDefinitions, SecretText};
use parking_lot::Mutex;

const MAGIC: &[u8; 8] = b"MRKEY001";
const KEY_LEN: usize = 32;
/// Begins a sealed secret of any version.
const SEALED: &str = "sealed:";
const SEALED_1: &str = "sealed:1:";
/// Bytes of the key's digest that name it.
const KEY_ID_LEN: usize = 8;

/// Whether a secret among the grants is not sealed.
pub(crate) fn are_in_clear(grants: &GrantDefinitions) -> bool {
    grants.secrets.values().chain(grants.postgres.values()).any(|text| !text.0.starts_with(SEALED))
}

/// Why a secret was not sealed or opened. It never tells the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    #[error("{action} the key {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no key: 40 bytes that begin with MRKEY001 are expected; restore it from a backup", path.display())]
    NotAKey { path: PathBuf },
    #[error(
        "the secret '{name}' of deployment '{deployment}' is sealed with key {sealed_with}, and {} is missing: restore \
         that file from a backup, or deploy again with the secret",
        path.display()
    )]
    Missing { name: String, deployment: String, sealed_with: String, path: PathBuf },
    #[error(
        "the secret '{name}' of deployment '{deployment}' is sealed with key {sealed_with}, and {} holds another one, \
         {held}: restore that file from a backup, or deploy again with the secret",
        path.display()
    )]
    OtherKey { name: String, deployment: String, sealed_with: String, held: String, path: PathBuf },
    #[error(
        "the sealed secret '{name}' of deployment '{deployment}' is damaged: deploy again with the secret"
    )]
    Damaged { name: String, deployment: String },
    #[error(
        "the sealed secret '{name}' of deployment '{deployment}' was written by a newer broker: upgrade this broker"
    )]
    Newer { name: String, deployment: String },
}

/// See the module's text.
pub struct Secrets {
    key: KeyFile,
    compiled_key: KeyFile,
}

type Key = [u8; KEY_LEN];

/// One key and its file. The lock is held while the key is read or made: of two that were made at once, something
/// could be sealed with the one that is not on disk.
struct KeyFile {
    path: PathBuf,
    known: Mutex<Option<Key>>,
}

/// What a sealed text belongs to.
#[derive(Clone, Copy)]
struct Owner<'a> {
    deployment: &'a str,
    grant: &'static str,
    name: &'a str,
}

impl Secrets {
    /// Reads and makes nothing yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { key: KeyFile::new(dir.join("key")), compiled_key: KeyFile::new(dir.join("compiled-key")) }
    }

    /// The grants as the metadata may have them.
    pub(crate) fn seal(
        &self,
        deployment: &str,
        grants: &GrantDefinitions,
    ) -> Result<GrantDefinitions, SecretsError> {
        self.each(deployment, grants, |owner, text| Ok(seal(&self.key.read_or_make()?, owner, text)))
    }

    /// The grants as the plugin may have them.
    pub(crate) fn open(
        &self,
        deployment: &str,
        grants: &GrantDefinitions,
    ) -> Result<GrantDefinitions, SecretsError> {
        self.each(deployment, grants, |owner, text| self.open_one(owner, text))
    }

    /// The key of this broker's compiled modules.
    pub fn compiled_key(&self) -> Result<[u8; KEY_LEN], SecretsError> {
        self.compiled_key.read_or_make()
    }

    fn each(
        &self,
        deployment: &str,
        grants: &GrantDefinitions,
        change: impl Fn(Owner<'_>, &str) -> Result<String, SecretsError>,
    ) -> Result<GrantDefinitions, SecretsError> {
        let all = |grant, texts: &BTreeMap<String, SecretText>| {
            let changed = texts.iter().map(|(name, text)| {
                Ok((name.clone(), SecretText(change(Owner { deployment, grant, name }, &text.0)?)))
            });
            changed.collect::<Result<BTreeMap<_, _>, SecretsError>>()
        };
        let (secrets, postgres) = (all("secrets", &grants.secrets)?, all("postgres", &grants.postgres)?);
        Ok(GrantDefinitions { secrets, postgres, ..grants.clone() })
    }

    fn open_one(&self, owner: Owner<'_>, text: &str) -> Result<String, SecretsError> {
        if !text.starts_with(SEALED) {
            return Ok(text.to_owned());
        }
        let (name, deployment) = (owner.name.to_owned(), owner.deployment.to_owned());
        let Some(parts) = text.strip_prefix(SEALED_1) else {
            return Err(SecretsError::Newer { name, deployment });
        };
        let Some((sealed_with, sealed)) = parts.split_once(':') else {
            return Err(SecretsError::Damaged { name, deployment });
        };
        let (sealed_with, path) = (sealed_with.to_owned(), self.key.path.clone());
        let Some(key) = self.key.read()? else {
            return Err(SecretsError::Missing { name, deployment, sealed_with, path });
        };
        let held = key_id(&key);
        if held != sealed_with {
            return Err(SecretsError::OtherKey { name, deployment, sealed_with, held, path });
        }
        open(&key, owner, sealed).ok_or(SecretsError::Damaged { name, deployment })
    }
}

impl KeyFile {
    const fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::new(None) }
    }

    /// `None` if there is no such file.
    fn read(&self) -> Result<Option<Key>, SecretsError> {
        self.read_locked(&mut self.known.lock())
    }

    fn read_or_make(&self) -> Result<Key, SecretsError> {
        let mut known = self.known.lock();
        if let Some(key) = self.read_locked(&mut known)? {
            return Ok(key);
        }
        let made = self.make()?;
        *known = Some(made);
        Ok(made)
    }

    fn read_locked(&self, known: &mut Option<Key>) -> Result<Option<Key>, SecretsError> {
        if known.is_none() {
            *known = read_key(&self.path)?;
        }
        Ok(*known)
    }

    /// Nothing is sealed with a key that a crash could take away: it is on disk, and its name too.
    fn make(&self) -> Result<Key, SecretsError> {
        let path = &self.path;
        let failed = |source| SecretsError::Io { action: "make", path: path.clone(), source };
        let dir = path.parent().unwrap_or(Path::new("."));
        let mut key = [0; KEY_LEN];
        rand::fill(&mut key).map_err(|_| failed(io::Error::other("the system gives no random bytes")))?;
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
        let temporary = path.with_extension("tmp");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let written = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(&[&MAGIC[..], &key].concat())?;
            file.sync_all()?;
            // Unlike a rename it never takes the place of a key that somebody else has made meanwhile.
            let linked = fs::hard_link(&temporary, path);
            fs::remove_file(&temporary)?;
            File::open(dir)?.sync_all()?;
            if let Some(parent) = dir.parent() {
                File::open(parent)?.sync_all()?;
            }
            linked
        };
        match written() {
            Ok(()) => Ok(key),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                read_key(path)?.ok_or_else(|| failed(error))
            }
            Err(error) => Err(failed(error)),
        }
    }
}

/// `None` if there is no such file.
fn read_key(path: &Path) -> Result<Option<[u8; KEY_LEN]>, SecretsError> {
    let failed = |source| SecretsError::Io { action: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(100).read_to_end(&mut bytes).map_err(failed)?;
    let key = bytes.strip_prefix(MAGIC).and_then(|key| <[u8; KEY_LEN]>::try_from(key).ok());
    key.map(Some).ok_or_else(|| SecretsError::NotAKey { path: path.to_owned() })
}

fn cipher(key: &[u8; KEY_LEN]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the algorithm's length"))
}

/// None of the names has a zero byte.
fn aad(owner: Owner<'_>) -> Aad<Vec<u8>> {
    Aad::from([owner.deployment, owner.grant, owner.name].join("\0").into_bytes())
}

fn seal(key: &[u8; KEY_LEN], owner: Owner<'_>, text: &str) -> String {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).expect("the system has given random bytes before");
    let mut sealed = text.as_bytes().to_vec();
    cipher(key)
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(owner), &mut sealed)
        .expect("a secret is shorter than what AES-GCM can seal");
    format!("{SEALED_1}{}:{}{}", key_id(key), hex(&nonce), hex(&sealed))
}

fn open(key: &[u8; KEY_LEN], owner: Owner<'_>, sealed: &str) -> Option<String> {
    let mut bytes = unhex(sealed)?;
    let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = cipher(key).open_in_place(nonce, aad(owner), sealed).ok()?;
    String::from_utf8(opened.to_vec()).ok()
}

fn key_id(key: &[u8; KEY_LEN]) -> String {
    hex(&digest(&SHA256, key).as_ref()[..KEY_ID_LEN])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn grants(token: &str) -> GrantDefinitions {
        let text = |text: &str| SecretText(text.to_owned());
        let mut grants = GrantDefinitions::default();
        grants.secrets.insert("token".into(), text(token));
        grants.postgres.insert("main".into(), text("postgres://u:hunter2@h/d"));
        grants
    }

    fn secrets(dir: &tempfile::TempDir) -> Secrets {
        Secrets::new(dir.path().join("secrets"))
    }

    #[test]
    fn sealed_grants_open_as_they_were_and_hold_nothing_in_clear() {
        let dir = tempfile::tempdir().unwrap();
        let given = grants("hunter2");
        let sealed = secrets(&dir).seal("ship", &given).unwrap();
        assert!(!serde_json::to_string(&sealed).unwrap().contains("hunter2"));
        assert_ne!(secrets(&dir).seal("ship", &given).unwrap(), sealed, "a nonce is used once");
        assert_eq!(secrets(&dir).open("ship", &sealed).unwrap(), given);
        // A secret that looks sealed is a secret, too.
        let nested = secrets(&dir).seal("ship", &sealed).unwrap();
        assert_eq!(secrets(&dir).open("ship", &nested).unwrap(), sealed);
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("secrets"), mode("secrets/key")), (0o700, 0o600));
    }

    #[test]
    fn keys_that_are_asked_for_at_once_are_one_and_on_disk() {
        for _ in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let (secrets_here, given) = (secrets(&dir), grants("hunter2"));
            let start = std::sync::Barrier::new(8);
            let ask = || {
                start.wait();
                (secrets_here.seal("ship", &given), secrets_here.compiled_key())
            };
            let answers: Vec<_> = std::thread::scope(|scope| {
                let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
                asking.into_iter().map(|asked| asked.join().unwrap()).collect()
            });
            let after = secrets(&dir);
            for (sealed, compiled_key) in answers {
                assert_eq!(after.open("ship", &sealed.unwrap()).unwrap(), given);
                assert_eq!(compiled_key.unwrap(), after.compiled_key().unwrap());
            }
        }
    }

    #[test]
    fn what_stands_in_clear_is_read_as_it_is_and_needs_no_key() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(secrets(&dir).open("ship", &grants("old")).unwrap(), grants("old"));
        assert!(!dir.path().join("secrets").exists());
        assert!(are_in_clear(&grants("old")));
        assert!(!are_in_clear(&secrets(&dir).seal("ship", &grants("old")).unwrap()));
    }

    #[test]
    fn a_missing_a_wrong_and_a_damaged_key_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = secrets(&dir).seal("ship", &grants("hunter2")).unwrap();
        let refused = || secrets(&dir).open("ship", &sealed).unwrap_err().to_string();
        let path = dir.path().join("secrets/key");
        let key = fs::read(&path).unwrap();

        fs::remove_file(&path).unwrap();
        let message = refused();
        assert!(
            message.starts_with("the secret 'token' of deployment 'ship' is sealed with key "),
            "{message}"
        );
        assert!(message.contains("secrets/key is missing: restore that file"), "{message}");
        secrets(&dir).seal("other", &grants("x")).unwrap();
        assert!(refused().contains("secrets/key holds another one"));
        fs::write(&path, &key[..39]).unwrap();
        assert!(refused().contains("secrets/key is no key: 40 bytes"));
        fs::write(&path, &key).unwrap();
        secrets(&dir).open("ship", &sealed).unwrap();
    }

    #[test]
    fn a_sealed_secret_is_of_use_for_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let sealed = secrets(&dir).seal("ship", &grants("hunter2")).unwrap();
        let refused = |deployment: &str, grants: &GrantDefinitions| {
            let refused = secrets(&dir).open(deployment, grants);
            assert!(matches!(refused, Err(SecretsError::Damaged { .. })), "{refused:?}");
        };
        refused("thief", &sealed);
        let mut moved = sealed.clone();
        moved.secrets.insert("token".into(), sealed.postgres["main"].clone());
        refused("ship", &moved);
        let whole = &sealed.secrets["token"].0;
        for end in [SEALED_1.len(), SEALED_1.len() + 17, whole.len() - 1, whole.len() - 2] {
            let mut cut = sealed.clone();
            cut.secrets.insert("token".into(), SecretText(whole[..end].to_owned()));
            refused("ship", &cut);
        }
        let mut newer = sealed;
        newer.secrets.insert("token".into(), SecretText("sealed:2:x".to_owned()));
        let message = secrets(&dir).open("ship", &newer).unwrap_err().to_string();
        assert!(message.contains("written by a newer broker"), "{message}");
    }
}
