//! The dashboard's files, embedded: a page at `/`, and what it loads below `/dashboard/`.
//!
//! They say nothing of this host, so they come without a token; all that they show they ask the API for. The policy of the
//! page lets a browser load nothing from elsewhere, run no script of a document, and show the page in no frame.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Prefix of the paths of what a page loads.
const PREFIX: &str = "/dashboard/";
/// The page may load and ask for what has its own origin, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the dashboard.
#[derive(Clone, Copy)]
struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($name:literal, $kind:expr) => {
        Asset { name: $name, kind: $kind, text: include_str!(concat!("../../dashboard/", $name)) }
    };
}

/// Files of both pages.
const SHARED: [Asset; 6] = [
    asset!("style.css", "text/css; charset=utf-8"),
    asset!("icon.svg", "image/svg+xml"),
    asset!("dom.js", SCRIPT),
    asset!("format.js", SCRIPT),
    asset!("server.js", SCRIPT),
    asset!("chart.js", SCRIPT),
];

/// A page: its document, and the scripts of its own.
pub(crate) struct Dashboard {
    document: Asset,
    scripts: &'static [Asset],
}

/// The page of a reflector.
pub(crate) const REFLECTOR: Dashboard = Dashboard {
    document: asset!("reflector.html", HTML),
    scripts: &[asset!("reflector.js", SCRIPT), asset!("traffic.js", SCRIPT), asset!("sessions.js", SCRIPT)],
};

/// The page of a probe.
pub(crate) const PROBE: Dashboard = Dashboard {
    document: asset!("probe.html", HTML),
    scripts: &[asset!("probe.js", SCRIPT), asset!("map.js", SCRIPT)],
};

impl Dashboard {
    /// Returns the routes of the page.
    pub(crate) fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let document = self.document;
        let router = Router::new().route("/", get(async move || document.answer()));
        SHARED.iter().chain(self.scripts).fold(router, |router, asset| {
            let asset = *asset;
            router.route(&format!("{PREFIX}{}", asset.name), get(async move || asset.answer()))
        })
    }
}

impl Asset {
    fn answer(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            // Another version of the program has other files.
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, self.text).into_response()
    }
}

/// Returns true if a path is one of the dashboard's, which show nothing that needs a token.
pub(crate) fn is_asset(path: &str) -> bool {
    path == "/" || path.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_have_no_script_style_or_handler_of_their_own_and_load_only_what_is_here() {
        for Dashboard { document, scripts } in [REFLECTOR, PROBE] {
            let text = document.text;
            for inline in ["<style", " style=", " onclick=", "javascript:", "http://", "https://"] {
                assert!(!text.contains(inline), "{}: {inline}", document.name);
            }
            assert!(text.matches("<script").count() == text.matches("<script type=\"module\" src=").count());
            let files: Vec<_> = SHARED.iter().chain(scripts).collect();
            let loaded = files.iter().map(|asset| asset.text).chain([text]);
            let named = loaded.flat_map(|text| text.split('"')).filter(|word| word.starts_with(['.', '/']));
            for name in named.filter(|word| word.ends_with(".js") || word.ends_with(".css") || word.ends_with(".svg")) {
                let name = name.trim_start_matches("./").trim_start_matches(PREFIX);
                assert!(files.iter().any(|asset| asset.name == name), "{name} is loaded and not served");
            }
        }
    }
}
