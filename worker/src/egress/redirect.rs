//! What an answer that points elsewhere asks for.

use hyper::{
    HeaderMap, Method, StatusCode,
    header::{HeaderValue, LOCATION},
};

/// Where the answer points to, when it is a redirect that can be followed.
pub(super) fn location(status: StatusCode, headers: &HeaderMap) -> Option<&[u8]> {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
        .then(|| headers.get(LOCATION))
        .flatten()
        .map(HeaderValue::as_bytes)
}

/// The method of the next request, and whether it carries the body again.
///
/// 307 and 308 repeat the request as it was. 303 asks for the answer with GET, and after POST so do 301 and 302, as everybody does it.
pub(super) fn next_method(status: StatusCode, method: &Method) -> (Method, bool) {
    let becomes_get = match status.as_u16() {
        303 => *method != Method::GET && *method != Method::HEAD,
        301 | 302 => *method == Method::POST,
        _ => false,
    };
    if becomes_get {
        (Method::GET, false)
    } else {
        (method.clone(), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_change_as_the_standard_and_custom_say() {
        let next = |status: u16, method: &str| {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            next_method(StatusCode::from_u16(status).unwrap(), &method)
        };
        for status in [307, 308] {
            assert_eq!(next(status, "POST"), (Method::POST, true));
        }
        for status in [301, 302, 303] {
            assert_eq!(next(status, "POST"), (Method::GET, false));
            assert_eq!(next(status, "HEAD"), (Method::HEAD, true));
        }
        assert_eq!(next(301, "DELETE"), (Method::DELETE, true));
        assert_eq!(next(303, "DELETE"), (Method::GET, false));
    }
}
