//! Order routing written in Python makes the same of the sample orders as the Rust plugin.

#[tokio::test]
async fn python_makes_the_same() {
    millrace_plugin_tests::compare("python").await;
}
