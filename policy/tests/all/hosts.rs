//! Hosts and domain patterns: every spelling that ever fooled somebody.

use gatewright_policy::{
    DomainPattern, Host,
    host::{DomainSet, Target, hosts_in},
};
use serde_json::{Value, json};

#[test]
fn a_host_has_one_spelling() {
    for (text, host) in [
        ("example.com", "example.com"),
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("example\u{3002}com", "example.com"),
        ("ｅｘａｍｐｌｅ.com", "example.com"),
        ("ex%61mple.com", "example.com"),
        ("faß.example", "xn--fa-hia.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("127.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0X7F.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("１２７.0.0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::1]", "[::1]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[::FFFF:127.0.0.1]", "[::ffff:127.0.0.1]"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
    ] {
        let parsed = Host::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(parsed.as_str(), host, "{text}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    for text in [
        "",
        ".",
        "..",
        "a..b",
        ".example.com",
        "example.com..",
        "exa mple.com",
        "a/b",
        "a?b",
        "a#b",
        "user@example.com",
        "example.com:80",
        "::1",
        "[::1",
        "[::g]",
        "[fe80::1%25eth0]",
        "[fe80::1%eth0]",
        "256.0.0.1",
        "1.2.3.4.5",
        "0x100000000",
        "127.0.0.1x.0x",
        "a\u{0}b",
        "a%00b",
        "exa\\mple",
        "xn--a",
        "*|*",
    ] {
        assert!(
            Host::parse(text).is_err(),
            "{text:?} became {:?}",
            Host::parse(text)
        );
    }
    assert!(Host::parse(&format!("{}.com", "a.".repeat(200))).is_err());
}

#[test]
fn a_pattern_means_its_apex_and_below_and_no_neighbour() {
    let pattern: DomainPattern = "*.Example.com.".parse().unwrap();
    for (host, meant) in [
        ("example.com", true),
        ("a.example.com", true),
        ("a.b.EXAMPLE.com.", true),
        ("notexample.com", false),
        ("example.com.evil.org", false),
        ("example.org", false),
        ("com", false),
    ] {
        let host = Host::parse(host).unwrap();
        assert_eq!(pattern.matches(&host), meant, "{host}");
        assert_eq!(
            [&pattern]
                .into_iter()
                .collect::<DomainSet>()
                .contains(&host),
            meant,
            "{host}"
        );
    }
}

#[test]
fn patterns_of_addresses_are_matched_in_any_spelling() {
    let pattern: DomainPattern = "0x7f.1".parse().unwrap();
    assert_eq!(pattern.to_string(), "127.0.0.1");
    assert!(pattern.matches(&Host::parse("2130706433").unwrap()));
    // The one within the other is another host.
    assert!(!pattern.matches(&Host::parse("[::ffff:127.0.0.1]").unwrap()));
    let any: DomainPattern = "*".parse().unwrap();
    assert!(any.matches(&Host::parse("[::1]").unwrap()));
}

#[test]
fn what_is_no_pattern_is_refused() {
    for text in [
        "",
        "*.",
        "*.*",
        "**",
        "*example.com",
        "a.*.com",
        "*.127.0.0.1",
        "*.[::1]",
        "http://example.com",
        "example.com/",
        "example.com:443",
        "user@example.com",
        " example.com",
        "example.com ",
        "a b",
        "*. example.com",
        "%2a.example.com",
    ] {
        assert!(text.parse::<DomainPattern>().is_err(), "{text:?}");
    }
}

#[test]
fn every_url_of_an_input_is_found() {
    for (text, host) in [
        ("https://example.com", "example.com"),
        ("HTTP://EXAMPLE.COM:8080/a?b#c", "example.com"),
        ("  https://example.com/ ", "example.com"),
        ("\u{1}\thttps://example.com", "example.com"),
        ("ht\ntps://exam\tple.com/", "example.com"),
        ("https:example.com", "example.com"),
        ("https:/example.com", "example.com"),
        ("https:\\\\example.com\\x", "example.com"),
        ("https:////example.com", "example.com"),
        ("//example.com/x", "example.com"),
        ("\\\\example.com\\share", "example.com"),
        ("/\\example.com", "example.com"),
        ("/\t/example.com", "example.com"),
        ("https://good.com@example.com/", "example.com"),
        ("https://good.com:x@example.com/", "example.com"),
        ("https://good.com\\@example.com/", "good.com"),
        ("https://example.com#@good.com/", "example.com"),
        ("https://example.com?@good.com/", "example.com"),
        ("ws://example.com", "example.com"),
        ("wss://example.com", "example.com"),
        ("ftp://example.com", "example.com"),
        ("file://example.com/share", "example.com"),
        ("ssh://git@EXAMPLE.com./x", "example.com"),
        ("git+https://example.com/x", "example.com"),
        ("gopher://0x7f.1:70/_", "127.0.0.1"),
        ("redis://%65xample.com", "example.com"),
        ("postgres://user:secret@example.com:5432/db", "example.com"),
        ("blob:https://example.com/9115d58c", "example.com"),
        ("view-source:https://example.com/", "example.com"),
        ("feed:view-source:https://example.com/", "example.com"),
        ("http://0x7f000001/", "127.0.0.1"),
        ("http://[::ffff:7f00:1]/", "[::ffff:127.0.0.1]"),
        ("http://127.0.0.1\u{3002}/", "127.0.0.1"),
    ] {
        let hosts = hosts_in(&json!({ "deep": [[{ "value": text }]] }))
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(hosts, [Host::parse(host).unwrap()], "{text:?}");
        let hosts = hosts_in(&json!({ text: null })).unwrap();
        assert_eq!(hosts, [Host::parse(host).unwrap()], "{text:?} as a key");
    }
}

#[test]
fn what_is_no_url_names_no_host() {
    for text in [
        "",
        "example.com",
        "www.example.com/x",
        "see https://example.com for more",
        "a: b",
        "Note: this // that",
        "// a comment, not a host",
        "//",
        "/etc/passwd",
        "/a//b",
        "C:\\Users\\x",
        "c:/x",
        "mailto:ann@example.com",
        "data:text/plain,hello",
        "tel:+1-201",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "arn:aws:s3:::bucket/key",
        "a:b:c:d:e:f:g",
        "12:30",
        "{\"a\": \"b\"}",
        "https: what follows is prose",
    ] {
        assert_eq!(hosts_in(&json!([text])), Ok(vec![]), "{text:?}");
    }
}

#[test]
fn a_url_that_cannot_be_read_fails_the_input() {
    for text in [
        "https://",
        "http://[::1",
        "https://exa mple.com/",
        "https://a..b/",
        "http://256.256.256.256/",
        "https://exam%00ple.com/",
        "ws://^/",
        "foo://exa mple/",
        "http://1.2.3.4.5.0x/",
        "https://xn--a/",
        "a:b:c:d:e://example.com",
    ] {
        assert!(
            hosts_in(&json!({ "good": "https://example.com", "bad": text })).is_err(),
            "{text:?}"
        );
    }
}

#[test]
fn hosts_are_told_once_and_in_order() {
    let input = json!(["https://b.com", "https://a.com/1", { "x": "http://A.com./2" }]);
    let hosts: Vec<String> = hosts_in(&input)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(hosts, ["a.com", "b.com"]);
}

#[test]
fn an_input_of_any_depth_is_searched() {
    let mut input = json!("https://example.com");
    for _ in 0..10_000 {
        input = Value::Array(vec![input]);
    }
    assert_eq!(hosts_in(&input).unwrap().len(), 1);
    // `Value`'s own destructor recurses; take the layers off one by one.
    while let Some(inner) = input.as_array_mut().and_then(Vec::pop) {
        input = inner;
    }
}

#[test]
fn a_target_is_sent_as_it_was_matched() {
    for (text, url, host) in [
        (
            "https://EXAMPLE.com./a?b=c#d",
            "https://example.com/a?b=c",
            "example.com",
        ),
        ("http://0x7f.1:8080", "http://127.0.0.1:8080/", "127.0.0.1"),
        (
            "https://[::FFFF:1.2.3.4]/",
            "https://[::ffff:102:304]/",
            "[::ffff:1.2.3.4]",
        ),
        (
            "https:\\\\bücher.example\\x",
            "https://xn--bcher-kva.example/x",
            "xn--bcher-kva.example",
        ),
    ] {
        let target = Target::parse(text).unwrap();
        assert_eq!(target.url().as_str(), url);
        assert_eq!(target.host(), &Host::parse(host).unwrap());
        assert_eq!(Target::parse(target.url().as_str()).unwrap(), target);
    }
    for text in [
        "https://user@example.com/",
        "https://u:p@example.com/",
        "https://:p@example.com/",
        "ftp://example.com",
        "file:///x",
        "x",
        "",
    ] {
        assert!(Target::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_redirect_is_read_by_the_same_parser() {
    let from = Target::parse("https://example.com/a/b").unwrap();
    for (location, url) in [
        ("c", "https://example.com/a/c"),
        ("//evil.org", "https://evil.org/"),
        ("\\\\evil.org", "https://evil.org/"),
        ("HTTP://0x7f.1", "http://127.0.0.1/"),
    ] {
        assert_eq!(from.join(location).unwrap().url().as_str(), url);
    }
    for location in [
        "//user@evil.org",
        "ftp://example.com",
        "javascript:alert(1)",
        "https://",
    ] {
        assert!(from.join(location).is_err(), "{location}");
    }
}
