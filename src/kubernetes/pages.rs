//! How many objects a page of a list may hold. Anyone may put 256 KiB of annotations on an object; a page of 500 such
//! objects would be 128 MiB, more than a replica may use. So a page that is too large to be read is asked for again, smaller,
//! and pages grow again while they fit.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::Uri;
use http::uri::PathAndQuery;

/// What kube asks for.
const MOST: usize = 500;
/// How much smaller a page is asked for again that was too large.
const SHRINK: usize = 8;

/// The number for one list.
#[derive(Debug)]
pub(super) struct Pages {
    limit: AtomicUsize,
}

impl Default for Pages {
    fn default() -> Self {
        Self { limit: AtomicUsize::new(MOST) }
    }
}

impl Pages {
    /// Whether a request asks for a page.
    pub(super) fn is_list(uri: &Uri) -> bool {
        pairs(uri).any(|(key, _)| key == "limit")
    }

    /// The same request for as many objects as a page may hold now, and how many that is.
    pub(super) fn limited(&self, uri: &Uri) -> Result<(Uri, usize), http::Error> {
        let asked = pairs(uri).find(|(key, _)| *key == "limit").and_then(|(_, value)| value.parse().ok());
        let limit = self.limit.load(Ordering::Relaxed).min(asked.unwrap_or(MOST));
        let query: Vec<String> = pairs(uri)
            .map(|(key, value)| if key == "limit" { format!("limit={limit}") } else { format!("{key}={value}") })
            .collect();
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(format!("{}?{}", uri.path(), query.join("&")).parse::<PathAndQuery>()?);
        Ok((Uri::from_parts(parts)?, limit))
    }

    /// A page of `limit` objects fitted: it had so many bytes of the `most` that are read.
    pub(super) fn fitted(&self, limit: usize, bytes: usize, most: usize) {
        if bytes < most / 4 {
            self.limit.fetch_max((limit * 2).min(MOST), Ordering::Relaxed);
        }
    }

    /// A page of `limit` objects was too large. Whether a smaller one can be asked for.
    pub(super) fn overflowed(&self, limit: usize) -> bool {
        self.limit.store((limit / SHRINK).max(1), Ordering::Relaxed);
        limit > 1
    }
}

fn pairs(uri: &Uri) -> impl Iterator<Item = (&str, &str)> {
    let query = uri.query().unwrap_or_default();
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shrinks_until_it_fits_and_grows_while_it_does() {
        let uri: Uri = "http://h/api/v1/configmaps?&limit=500&continue=abc%3D".parse().unwrap();
        let pages = Pages::default();
        let limited = |pages: &Pages| pages.limited(&uri).unwrap();
        assert_eq!(limited(&pages).0, "http://h/api/v1/configmaps?limit=500&continue=abc%3D");
        assert!(pages.overflowed(500));
        assert_eq!(limited(&pages), ("http://h/api/v1/configmaps?limit=62&continue=abc%3D".parse().unwrap(), 62));
        assert!(pages.overflowed(62) && pages.overflowed(7));
        assert!(!pages.overflowed(1), "there is nothing smaller");
        for _ in 0..20 {
            pages.fitted(limited(&pages).1, 10, 1000);
        }
        assert_eq!(limited(&pages).1, MOST);
        pages.overflowed(500);
        pages.fitted(62, 900, 1000);
        assert_eq!(limited(&pages).1, 62, "it is full enough");
        assert!(Pages::is_list(&uri) && !Pages::is_list(&"/api?watch=true".parse().unwrap()));
    }
}
