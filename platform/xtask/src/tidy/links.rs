//! Relative links in the project's pages lead somewhere.

use super::Source;
use crate::workspace::Workspace;

pub fn check(workspace: &Workspace, sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_markdown()) {
        let directory = workspace.root.join(&source.path);
        for target in targets(&source.text) {
            let file = target.split('#').next().unwrap_or_default();
            let leads_outside = file.is_empty() || file.contains("://") || file.starts_with("mailto:");
            if !leads_outside && !directory.with_file_name(file).exists() {
                findings.push(source.finding(format!("the link to '{target}' leads nowhere")));
            }
        }
    }
    findings
}

/// What stands in the round brackets of `[text](target)`.
fn targets(text: &str) -> Vec<&str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn link_targets_are_found() {
        assert_eq!(super::targets("see [a](b.md#c) and [d](https://e.f)."), ["b.md#c", "https://e.f"]);
    }
}
