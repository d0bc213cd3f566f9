//! The reference page in the repository is the one that the tables generate.

#[test]
fn the_reference_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/REFERENCE.md");
    let current = millrace_config::reference_markdown();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        stored == current,
        "platform/config/REFERENCE.md is out of date: UPDATE_REFERENCE=1 cargo test -p millrace-config"
    );
}
