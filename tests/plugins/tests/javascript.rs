//! Order routing written in JavaScript makes the same of the sample orders as the Rust plugin.

#[tokio::test]
async fn javascript_makes_the_same() {
    millrace_plugin_tests::compare("javascript").await;
}
