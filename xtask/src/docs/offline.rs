//! Finds in built pages whatever a browser would load from elsewhere.

use std::path::Path;

use anyhow::{Context, Result};

/// The beginnings of what makes a browser load an address without being asked to.
const LOADS: [&str; 9] = [
    "src=\"http",
    "src=\"//",
    "srcset=\"http",
    "rel=\"stylesheet\" href=\"http",
    "url(http",
    "url(\"http",
    "@import \"http",
    "fetch(\"http",
    // A block of Rust whose page asks the playground which crates it has.
    "class=\"playground\"",
];

/// Returns the places of a folder's pages, styles and scripts that load from elsewhere, each as `file: what`.
pub(super) fn requests(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if is_loaded(&path) {
                let text = std::fs::read_to_string(&path)?;
                found.extend(loads(&text).map(|what| format!("{}: {what}", path.display())));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_loaded(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The index of the search is the pages' own text.
    let is_index = name.starts_with("searchindex");
    !is_index && path.extension().is_some_and(|end| ["html", "css", "js"].iter().any(|kind| end == *kind))
}

fn loads(text: &str) -> impl Iterator<Item = &'static str> {
    LOADS.into_iter().filter(|start| text.contains(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_no_requests_and_scripts_from_elsewhere_are() {
        let page = "<a href=\"https://www.rfc-editor.org/\">RFC</a><script src=\"book.js\"></script>";
        assert_eq!(loads(page).count(), 0);
        let page = "<script src=\"https://cdn.example/x.js\"></script><style>a{background:url(http://x)}</style>";
        assert_eq!(loads(page).collect::<Vec<_>>(), ["src=\"http", "url(http"]);
    }
}
