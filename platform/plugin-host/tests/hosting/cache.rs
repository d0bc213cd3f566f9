//! Compiled modules are kept, checked, and let go of.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millrace_plugin_host::{HostLimits, Kind, LoadError, ModuleDigest, Transform};

use crate::guests::{Bench, batch, guest};

/// Runs a batch through the identity on a host of its own, and says what that host compiled and read.
async fn run(cache: &Arc<tempfile::TempDir>) -> (u64, u64) {
    let bench = Bench::with(HostLimits::default(), Arc::clone(cache));
    let deployment = bench.deploy(guest("identity", "transform"), Kind::Transform);
    Transform::new(deployment, 0).transform(&batch(1, 0)).await.result.unwrap();
    let library = bench.host.stats().library;
    (library.compiled, library.from_cache)
}

fn files(cache: &tempfile::TempDir) -> Vec<std::path::PathBuf> {
    let engine = fs::read_dir(cache.path()).unwrap().next().unwrap().unwrap().path();
    fs::read_dir(engine).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_module_is_compiled_once_and_again_when_its_file_is_damaged() {
    let cache = Arc::new(tempfile::tempdir().unwrap());
    assert_eq!(run(&cache).await, (1, 0));
    assert_eq!(run(&cache).await, (0, 1));
    let [file] = &files(&cache)[..] else { panic!("one module is one file") };

    let whole = fs::read(file).unwrap();
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        // As a crash or a bad disk leaves it; a file that is mapped is never written to.
        fs::remove_file(file).unwrap();
        fs::write(file, damaged).unwrap();
        assert_eq!(run(&cache).await, (1, 0), "damaged at {at}");
        assert_eq!(run(&cache).await, (0, 1));
    }
    fs::remove_file(file).unwrap();
    fs::write(file, &whole[..whole.len() - 100]).unwrap();
    assert_eq!(run(&cache).await, (1, 0), "cut short");
}

#[tokio::test]
async fn compiled_code_is_run_only_for_the_module_and_under_the_key_that_it_was_kept_with() {
    let cache = Arc::new(tempfile::tempdir().unwrap());
    assert_eq!(run(&cache).await, (1, 0));
    let [identity] = &files(&cache)[..] else { panic!("one module is one file") };
    // Whole code of another module under this one's name: what runs is still this one.
    let bench = Bench::with(HostLimits::default(), Arc::clone(&cache));
    let other = bench.modules.add(guest("poison", "transform"));
    bench.host.prepare(other).await.unwrap();
    let others = identity.with_file_name(format!("{other}.cwasm"));
    fs::remove_file(identity).unwrap();
    fs::rename(&others, identity).unwrap();
    assert_eq!(run(&cache).await, (1, 0));
    assert_eq!(run(&cache).await, (0, 1));
    // Who does not know the key can write nothing that is run.
    let stranger = Bench::with_key(HostLimits::default(), Arc::clone(&cache), [9; 32]);
    stranger.deploy(guest("identity", "transform"), Kind::Transform);
    let digest = ModuleDigest::of(&guest("identity", "transform"));
    stranger.host.prepare(digest).await.unwrap();
    assert_eq!(stranger.host.stats().library.compiled, 1);
    assert_eq!(run(&cache).await, (1, 0));
}

#[tokio::test]
async fn what_another_engine_compiled_is_deleted() {
    let cache = Arc::new(tempfile::tempdir().unwrap());
    let other = cache.path().join("0123456789abcdef");
    fs::create_dir(&other).unwrap();
    assert_eq!(run(&cache).await, (1, 0));
    assert!(!other.exists());
}

#[tokio::test]
async fn idle_code_is_unloaded_and_comes_back_from_the_cache() {
    let bench = Bench::new();
    let deployment = bench.deploy(guest("identity", "transform"), Kind::Transform);
    let mut transform = Transform::new(deployment.clone(), 0);
    transform.transform(&batch(1, 0)).await.result.unwrap();

    assert_eq!(bench.host.unload_idle(Duration::ZERO), 0, "an instance holds it");
    transform.release();
    assert_eq!(bench.host.unload_idle(Duration::from_secs(3600)), 0, "it was used just now");
    assert_eq!(bench.host.unload_idle(Duration::ZERO), 1);
    assert_eq!(bench.host.stats().library.loaded, 0);

    transform.transform(&batch(1, 0)).await.result.unwrap();
    let library = bench.host.stats().library;
    assert_eq!((library.compiled, library.from_cache, library.loaded), (1, 1, 1));
    bench.host.forget(deployment.module()).unwrap();
    assert!(files(&bench.cache_dir).is_empty());
}

#[tokio::test]
async fn many_who_ask_at_once_compile_once() {
    let bench = Bench::new();
    let deployment = bench.deploy(guest("identity", "transform"), Kind::Transform);
    let calls = (0..8).map(|partition| {
        let mut transform = Transform::new(deployment.clone(), partition);
        async move { transform.transform(&batch(1, 0)).await.result.map(|outputs| outputs.len()) }
    });
    for given in futures::future::join_all(calls).await {
        assert_eq!(given.unwrap(), 1);
    }
    assert_eq!(bench.host.stats().library.compiled, 1);
    assert_eq!(bench.host.stats().instances_started, 8);
}

#[tokio::test]
async fn a_module_that_is_missing_or_damaged_is_named() {
    let bench = Bench::new();
    let missing = bench.host.prepare(ModuleDigest::of(b"nothing")).await.unwrap_err();
    assert!(matches!(missing, LoadError::NoSuchModule { .. }), "{missing}");
    let digest = bench.modules.add(Bytes::from_static(b"not a module"));
    let refused = bench.host.prepare(digest).await.unwrap_err();
    assert!(matches!(refused, LoadError::Refused { .. }), "{refused}");
    let digest = bench.modules.add(guest("identity", "transform"));
    let info = bench.host.prepare(digest).await.unwrap();
    assert_eq!((info.digest, info.kind), (digest, Kind::Transform));
}
