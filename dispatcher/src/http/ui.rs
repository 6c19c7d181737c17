//! The dashboard: a page of plain HTML, CSS and modules that speaks to the API as everybody does, with the key of whoever looks.
//!
//! It is part of the binary, needs no build step, and loads nothing from other hosts (`docs/adr/0018-dashboard.md`).
//! What stands in it is text from strangers: the policy below lets the browser run nothing but these very files.

use std::sync::Arc;

use axum::{
    Router,
    extract::Path,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::{Api, problem::Problem};

/// What the browser is to hold the page to.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const SAID_WITH_THE_PAGE: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=()",
    ),
];

/// A file of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($name:literal: $kind:expr,)+) => {
        &[$(Asset { name: $name, kind: $kind, text: include_str!(concat!("ui/", $name)) }),+]
    };
}

const SHELL: &str = "index.html";

static ASSETS: &[Asset] = assets! {
    "index.html": HTML,
    "style.css": CSS,
    "mark.svg": SVG,
    "api.js": SCRIPT,
    "app.js": SCRIPT,
    "approvals.js": SCRIPT,
    "authority.js": SCRIPT,
    "chart.js": SCRIPT,
    "dom.js": SCRIPT,
    "events.js": SCRIPT,
    "fleet.js": SCRIPT,
    "json.js": SCRIPT,
    "live.js": SCRIPT,
    "overview.js": SCRIPT,
    "parts.js": SCRIPT,
    "policy.js": SCRIPT,
    "run.js": SCRIPT,
    "runs.js": SCRIPT,
    "text.js": SCRIPT,
};

/// The page at `/`, its files below `/ui/`.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new().route("/", get(async || file(SHELL))).route(
        "/ui/{name}",
        get(async |Path(name): Path<String>| file(&name)),
    )
}

fn file(name: &str) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return Problem::not_found("there is nothing at this path").into_response();
    };
    let mut response = asset.text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    for (name, value) in SAID_WITH_THE_PAGE {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_the_page_names_is_served_and_nothing_of_it_comes_from_elsewhere() {
        for asset in ASSETS {
            let quoted = asset.text.split(['"', '\'']);
            for name in quoted
                .filter_map(|text| text.strip_prefix("./").or_else(|| text.strip_prefix("ui/")))
            {
                assert!(
                    ASSETS.iter().any(|other| other.name == name),
                    "{} names {name}",
                    asset.name
                );
            }
            // The name of the SVG language is a name, and not fetched.
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            for elsewhere in ["http:", "https:", "url(", "innerHTML", "eval("] {
                assert!(!text.contains(elsewhere), "{}: {elsewhere}", asset.name);
            }
        }
    }
}
