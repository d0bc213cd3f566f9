//! How a failed command ends: one message that names the thing and the way out, and a code that is not 0.

use std::io;
use std::process::ExitCode;

use serde_json::json;

use crate::OutputFormat;

/// Tells why the command failed. A reader that closed the pipe early (`| head`) has what it wanted.
pub fn report(error: &anyhow::Error, output: OutputFormat) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let message = message(error);
    match output {
        OutputFormat::Text => eprintln!("error: {message}"),
        OutputFormat::Json => eprintln!("{}", json!({ "error": message })),
    }
    ExitCode::FAILURE
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The causes in one line, without those that the one above them repeats already.
fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("disk full").context("write x: disk full").context("close log");
        assert_eq!(message(&error), "close log: write x: disk full");
    }

    #[test]
    fn a_closed_pipe_is_found_below_its_context() {
        let error = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe)).context("print");
        assert!(is_closed_pipe(&error));
        assert!(!is_closed_pipe(&anyhow::anyhow!("something else")));
    }
}
