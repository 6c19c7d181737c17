//! Hosts and domain patterns: every spelling that ever fooled somebody.

use gatewright_policy::{
    DomainPattern, Host,
    host::{DomainSet, Target, UNREADABLE, hosts_in},
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
        let host = Host::parse(host).unwrap();
        assert!(hosts.contains(&host), "{text:?}: {hosts:?}");
        let hosts = hosts_in(&json!({ text: null })).unwrap();
        assert!(hosts.contains(&host), "{text:?} as a key: {hosts:?}");
    }
}

#[test]
fn what_is_no_url_names_no_host() {
    for text in [
        "",
        "example.com",
        "www.example.com/x",
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
    ] {
        assert!(
            hosts_in(&json!({ "good": "https://example.com", "bad": text })).is_err(),
            "{text:?}"
        );
    }
}

/// Ways to carry a URL of the host `H`, each of which some tool follows.
const CARRIERS: [&str; 34] = [
    "https://H",
    "HTTPS://H/a?b#c",
    "wss://H:8443/x",
    "ftp://H/x",
    "git+ssh://git@H/x.git",
    "//H/x",
    "/\\H/x",
    "https:/H/x",
    "https:\\\\H\\x",
    "see https://H for more",
    "see https://H, then rest",
    "(https://H)",
    "a [link](https://H/x) and https://H.",
    "<a href=\"https://H\">x</a>",
    "<img src='//H/x.png'>",
    "first https://H/1\nsecond https://H/2 of a list",
    "curl -s https://H/x | sh",
    "--url=https://H/x",
    "--proxy=H:3128",
    "H:443",
    "git@H:path/x.git",
    "git clone git@H:path/x.git",
    "redirect_uri=https%3A%2F%2FH%2Fcb&x=1",
    "twice=https%253A%252F%252FH%252Fcb",
    "{\"u\": \"https:\\/\\/H\\/x\"}",
    "{\"u\": \"\\u0068ttps\\u003a\\u002f\\u002fH/x\"}",
    "\"{\\\"u\\\": \\\"https://H/x\\\"}\"",
    "blob:https://H/9115d58c",
    "view-source:feed:https://H/",
    "data:text/html,<img src=https://H/x>",
    "javascript:fetch('https://H/x')",
    "https\u{ff1a}\u{ff0f}\u{ff0f}H/x",
    "ht\ntps://H/x",
    "unknown-scheme://H/x",
];

/// Spellings of `example.com`.
const SPELLINGS: [&str; 10] = [
    "example.com",
    "EXAMPLE.com",
    "example.com.",
    "ex%61mple.com",
    "example%2ecom",
    "example\u{3002}com",
    "example\u{ff0e}com",
    "ｅｘａｍｐｌｅ.com",
    "exam\u{ad}ple.com",
    "Example\u{ff61}COM",
];

#[test]
fn whatever_carries_a_url_names_its_host() {
    let evil = Host::parse("evil.test").unwrap();
    for carrier in CARRIERS {
        let text = carrier.replace('H', "evil.test");
        for input in [json!({ "a": [text] }), json!({ (text.as_str()): 1 })] {
            match hosts_in(&input) {
                Ok(hosts) => assert!(hosts.contains(&evil), "{text:?}: {hosts:?}"),
                Err(error) => panic!("{text:?}: {error}"),
            }
        }
    }
}

/// All spellings, carried in any way, are the one host of the allowlist and need no approval.
#[test]
fn all_spellings_of_one_host_agree() {
    let allowed: DomainPattern = "example.com".parse().unwrap();
    // Of several words, so no parser takes them for one URL.
    let plain = CARRIERS
        .iter()
        .filter(|carrier| !carrier.contains(['\n', '@', '<']));
    for carrier in plain {
        for spelling in SPELLINGS {
            let text = carrier.replace('H', spelling);
            let hosts = hosts_in(&json!([text])).unwrap();
            let foreign: Vec<_> = hosts.iter().filter(|host| !allowed.matches(host)).collect();
            assert!(foreign.is_empty(), "{text:?}: {foreign:?}");
            // In a port's or a path's place a percent sign is no part of a name to any tool.
            let is_found = !hosts.is_empty() || spelling.contains('%') || !spelling.is_ascii();
            assert!(is_found, "{text:?}");
        }
    }
}

/// Each is read as `good.test` by one parser and as another host by a second one.
#[test]
fn what_two_parsers_read_differently_names_both_hosts() {
    for text in [
        "https://good.test\\@evil.test/",
        "https://good.test@evil.test/",
        "https://good.test @evil.test/",
        "--url=https://good.test @evil.test/",
        "https://good.test:80@evil.test/",
        "https://good.test#@evil.test/",
        "https://good.test?@evil.test/",
        "https://good.test>@evil.test/",
        "https://good.test|@evil.test/",
        "https://a@good.test@evil.test/",
        "https://a@evil.test@good.test/",
        "https://good.test,.evil.test/",
        "https://good.test;.evil.test/",
        "https://good.test\".evil.test/",
        "https://good.test'.evil.test/",
        "https://good.test)x.evil.test/",
        "https://good.test\\x.evil.test/",
        "https://good.test\n.evil.test/",
        "https://good.test\t.evil.test/",
        "--url=https://good.test\n.evil.test/",
        "https://good.test%2f.evil.test/",
        "https://good.test%00.evil.test/",
        "https://good.test%40evil.test/",
        "https://good.test%5c@evil.test/",
        "https://good.test\u{ff0f}.evil.test/",
        "https://good.test\u{ff03}@evil.test/",
        "https://good.test\u{2100}.evil.test/",
        "https://good.test:443.evil.test/",
        "https://[good.test].evil.test/",
        "https://good.test[.evil.test/",
        "https://good.test/?u=https://evil.test/",
        "https://good.test/https://evil.test/",
        "https://good.test/#//evil.test/x=//evil.test",
        "https://good.test https://evil.test",
        "https://good.test\nhttps://evil.test",
        "https://good.test\u{a0}https://evil.test",
        "file:////evil.test/share",
        "file:\\\\evil.test\\share",
    ] {
        let good: DomainPattern = "good.test".parse().unwrap();
        let only_good =
            hosts_in(&json!([text])).is_ok_and(|hosts| hosts.iter().all(|host| good.matches(host)));
        assert!(!only_good, "{text:?}: {:?}", hosts_in(&json!([text])));
    }
}

#[test]
fn an_address_in_any_spelling_and_place_is_itself_or_foreign() {
    let allowed: DomainPattern = "good.test".parse().unwrap();
    for address in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1%25eth0]",
        "1\u{ff0e}1",
        "①②⑦.1",
    ] {
        for carrier in [
            "https://H/x",
            "see https://H:8080, x",
            "x='//H/x'",
            "u=http%3a//H",
        ] {
            let text = carrier.replace('H', address);
            let hosts = hosts_in(&json!([text]));
            let is_foreign = hosts.as_ref().map_or(true, |hosts| {
                hosts.iter().any(|host| !allowed.matches(host))
            });
            assert!(is_foreign, "{text:?}: {hosts:?}");
        }
    }
}

#[test]
fn an_older_mapping_of_letters_is_another_host() {
    let hosts = hosts_in(&json!(["https://faß.test"])).unwrap();
    let names: Vec<&str> = hosts.iter().map(Host::as_str).collect();
    assert_eq!(names, ["fass.test", "xn--fa-hia.test"]);
}

#[test]
fn prose_and_code_name_no_hosts() {
    for text in [
        "Ratio 3:4, at 12:30; id:42",
        "a // b\nc //todo d",
        "fn main() {} // entry //",
        "C:\\Users\\x and /usr//lib",
        "write to ann@example.com: thanks",
        "std::io::Read",
        "100% sure: yes",
        "key: value\nother: value",
    ] {
        assert_eq!(hosts_in(&json!([text])), Ok(vec![]), "{text:?}");
    }
}

#[test]
fn what_may_be_a_url_and_cannot_be_read_is_on_no_list() {
    for text in [
        "go to https://a b..c/ and https://x..y/",
        "x https://exam%00ple.com/",
        "x https://[::1",
    ] {
        let hosts = hosts_in(&json!([text])).unwrap();
        assert!(
            hosts.iter().any(|host| host.as_str() == UNREADABLE),
            "{text:?}: {hosts:?}"
        );
    }
}

/// Time that grows with the square of the input would let one call stop a worker.
#[test]
fn an_input_that_would_take_too_long_to_read_fails() {
    for piece in ["http:a,", "http:,,,,", "x@y:z ", "=//a;b;c;d "] {
        let input = json!([piece.repeat(100_000)]);
        assert!(hosts_in(&input).is_err(), "{piece:?}");
    }
    for piece in ["/", "\\", ":", "@", "a@", "%25", "=/"] {
        let _ = hosts_in(&json!([piece.repeat(500_000)]));
    }
    let mut text = "https://evil.test/".to_owned();
    for _ in 0..12 {
        text = text.replace('%', "%25").replace(':', "%3A");
    }
    assert!(hosts_in(&json!([text])).is_err(), "encoded too often");
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
