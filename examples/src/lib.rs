//! Runnable programs that show the client SDK; each file beside this one is one example.
