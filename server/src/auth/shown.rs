//! Where a token stands in a request. Old clients cannot set headers, but all take a URL.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;

use crate::percent;

/// The token of an HTTP request: `Authorization`, else `?token=`.
pub fn of_http(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        // What cannot be read is a token that nobody has, not one that is missing.
        return Some(
            value
                .to_str()
                .ok()
                .and_then(of_authorization)
                .unwrap_or_default(),
        );
    }
    let pairs = query.unwrap_or_default().split('&');
    let token = pairs
        .filter_map(|pair| pair.strip_prefix("token="))
        .next()?;
    Some(text(percent::decode(token).unwrap_or_default()))
}

/// The token of an `Authorization`: `Bearer TOKEN`, or `Basic` with it as the password of any user
/// (`http://any:TOKEN@host`), or as the user of no password (`curl -u TOKEN:`).
pub fn of_authorization(value: &str) -> Option<String> {
    let (scheme, rest) = value.trim().split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = text(STANDARD.decode(rest).ok()?);
    let (user, password) = pair.split_once(':')?;
    Some(match password {
        "" => user.to_owned(),
        password => password.to_owned(),
    })
}

/// Bytes that are no text are no token.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_where_clients_can_put_them() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (header, query, token) in [
            (None, None, None),
            (None, Some("x=1&token=a%5Fb"), Some("a_b")),
            (None, Some("tokens=1"), None),
            (None, Some("token=%zz"), Some("")),
            (Some("Bearer abc".to_owned()), None, Some("abc")),
            (
                Some("bearer  abc ".to_owned()),
                Some("token=other"),
                Some("abc"),
            ),
            (Some(basic("me:abc")), None, Some("abc")),
            (Some(basic("abc:")), None, Some("abc")),
            (Some(basic("me:a:b")), None, Some("a:b")),
            (Some("Basic ???".to_owned()), Some("token=abc"), Some("")),
            (Some("Digest abc".to_owned()), None, Some("")),
            (Some("Bearer".to_owned()), None, Some("")),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(header) = &header {
                headers.insert(AUTHORIZATION, header.parse().unwrap());
            }
            let found = of_http(&headers, query);
            assert_eq!(found.as_deref(), token, "{header:?} {query:?}");
        }
    }
}
