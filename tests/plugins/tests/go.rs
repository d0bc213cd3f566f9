//! Order routing written in Go makes the same of the sample orders as the Rust plugin.

#[tokio::test]
async fn go_makes_the_same() {
    millrace_plugin_tests::compare("go").await;
}
