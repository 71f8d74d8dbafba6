//! Style sheet, scripts and icon: part of the binary, served under names that hold their digest, so that a browser may keep
//! them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use habeas_core::crypto;

/// One embedded file.
struct Asset {
    /// Its name with the digest: `portal-1a2b3c4d5e6f7081.css`.
    name: String,
    media_type: &'static str,
    body: &'static str,
}

impl Asset {
    fn new(stem: &str, extension: &str, media_type: &'static str, body: &'static str) -> Asset {
        let digest: String =
            crypto::sha256(body.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Asset { name: format!("{stem}-{digest}.{extension}"), media_type, body }
    }

    fn script(stem: &str, body: &'static str) -> Asset {
        Asset::new(stem, "js", "text/javascript; charset=utf-8", body)
    }
}

static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("portal", "css", "text/css; charset=utf-8", include_str!("../assets/portal.css"))
});
static ICON: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("mark", "svg", "image/svg+xml", include_str!("../assets/mark.svg")));
/// Runs before the first paint; everything else may come later.
static THEME: LazyLock<Asset> = LazyLock::new(|| Asset::script("theme", include_str!("../assets/theme.js")));
static MODULES: LazyLock<[Asset; 5]> = LazyLock::new(|| {
    [
        Asset::script("theme-toggle", include_str!("../assets/theme-toggle.js")),
        Asset::script("copy-button", include_str!("../assets/copy-button.js")),
        Asset::script("confirm-typed", include_str!("../assets/confirm-typed.js")),
        Asset::script("sse-progress", include_str!("../assets/sse-progress.js")),
        Asset::script("submit-once", include_str!("../assets/submit-once.js")),
    ]
});

/// Where the assets lie.
pub const BASE: &str = "/assets/";

/// Address of the style sheet.
pub fn style() -> String {
    format!("{BASE}{}", STYLE.name)
}

/// Address of the icon.
pub fn icon() -> String {
    format!("{BASE}{}", ICON.name)
}

/// Address of the script that sets the theme before the first paint.
pub fn theme() -> String {
    format!("{BASE}{}", THEME.name)
}

/// Addresses of the modules that define the custom elements.
pub fn modules() -> Vec<String> {
    MODULES.iter().map(|asset| format!("{BASE}{}", asset.name)).collect()
}

fn embedded() -> impl Iterator<Item = &'static Asset> {
    [&*STYLE, &*ICON, &*THEME].into_iter().chain(MODULES.iter())
}

/// Name and body of every asset.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    embedded().map(|asset| (asset.name.as_str(), asset.body))
}

/// `GET /assets/{name}`.
pub async fn serve(Path(name): Path<String>) -> Response {
    match embedded().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [
                (CONTENT_TYPE, HeaderValue::from_static(asset.media_type)),
                (CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
            ];
            (headers, asset.body).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
