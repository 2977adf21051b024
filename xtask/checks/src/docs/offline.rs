//! Finds in built pages whatever a browser would load from elsewhere.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Elements that a browser loads without being asked to.
const ELEMENTS: [&str; 10] =
    ["audio", "embed", "iframe", "image", "img", "link", "object", "script", "source", "video"];
/// Beginnings of addresses elsewhere, as attributes have them.
const ELSEWHERE: [&str; 3] = ["=\"http:", "=\"https:", "=\"//"];
/// The beginnings of what styles and scripts load.
const LOADS: [&str; 8] = [
    "url(http",
    "url(\"http",
    "url(//",
    "@import \"http",
    "fetch(\"http",
    "importScripts(\"http",
    ".src = \"http",
    // A block of Rust whose page asks the playground which crates it has.
    "class=\"playground\"",
];

/// Returns an error if a built book has no search, or one whose index is not beside its pages.
pub(super) fn check_search(folder: &Path) -> Result<()> {
    let page = std::fs::read_to_string(folder.join("index.html"))?;
    let index = page.split_once("path_to_searchindex_js = \"").and_then(|(_, rest)| rest.split('"').next());
    let index = index.context("the book has no search: index.html names no index")?;
    let text = std::fs::read_to_string(folder.join(index)).with_context(|| format!("the book's {index}"))?;
    ensure!(text.contains("Session-Reflector"), "the search of the book finds nothing: {index} has no page");
    Ok(())
}

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
                found.extend(loads(&text).into_iter().map(|what| format!("{}: {what}", path.display())));
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

/// Returns what a page, style or script loads from elsewhere.
fn loads(text: &str) -> Vec<&str> {
    let tags = text.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or(rest));
    let is_loaded = |tag: &&str| {
        let name = tag.split_whitespace().next().unwrap_or_default();
        ELEMENTS.contains(&name) && ELSEWHERE.iter().any(|start| tag.contains(start))
    };
    tags.filter(is_loaded).chain(LOADS.into_iter().filter(|start| text.contains(start))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_no_requests_and_scripts_from_elsewhere_are() {
        let page = "<a href=\"https://www.rfc-editor.org/\">RFC</a><script src=\"book.js\"></script>\
                    <svg xmlns=\"http://www.w3.org/2000/svg\"></svg>";
        assert_eq!(loads(page), [""; 0]);
        let page = "<script src=\"https://cdn.example/x.js\"></script><style>a{background:url(http://x)}</style>\
                    <link href=\"//cdn.example/x.css\" rel=\"stylesheet\"><img alt=\"\" src=\"http://x/y.png\">";
        let found = loads(page);
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with("script src") && found[3] == "url(http", "{found:?}");
    }

    #[test]
    fn a_book_without_an_index_is_noticed() {
        let folder = std::env::temp_dir().join(format!("teaparty-book-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let page = |text: &str| std::fs::write(folder.join("index.html"), text).unwrap();
        page("<html></html>");
        assert!(check_search(&folder).is_err());
        page("<script>window.path_to_searchindex_js = \"searchindex-1.js\";</script>");
        assert!(check_search(&folder).is_err());
        std::fs::write(folder.join("searchindex-1.js"), "…Session-Reflector…").unwrap();
        assert!(check_search(&folder).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
