//! Which web pages may call. Programs send no `Origin` and are not asked.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header;

/// Whether a request may be answered: it comes from no web page, from one that is listed, or from
/// one of the server itself. The last counts only under `localhost` or an address: a page under a
/// name could have been made to resolve to us.
pub(super) fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    if allowed.iter().any(|a| a.trim_end_matches('/') == origin) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    let own = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    own.is_some() && own == host && own.is_some_and(is_address)
}

/// Whether the server was asked under an address or `localhost`: a name may be that of a page that
/// was made to resolve to us.
pub(super) fn is_own_host(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
    host.is_none_or(is_address)
}

fn is_address(authority: &str) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_pages_and_our_own_may_call() {
        let allowed = ["https://charts.example".to_owned()];
        for (origin, host, fits) in [
            (None, "evil.example", true),
            (Some("https://charts.example"), "127.0.0.1:5993", true),
            (Some("http://charts.example"), "127.0.0.1:5993", false),
            (Some("https://charts.example.evil"), "127.0.0.1:5993", false),
            (Some("http://127.0.0.1:5993"), "127.0.0.1:5993", true),
            (Some("http://localhost:5993"), "localhost:5993", true),
            (Some("http://[::1]:5993"), "[::1]:5993", true),
            (Some("http://localhost:8080"), "localhost:5993", false),
            (
                Some("http://rebound.example:5993"),
                "rebound.example:5993",
                false,
            ),
            (Some("null"), "null", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(is_allowed(&headers, &allowed), fits, "{origin:?} {host}");
        }
    }
}
